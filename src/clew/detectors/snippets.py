"""Pieces of code for fixes: managers, names that are still free, conditions."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from clew.detectors.conditions import Condition


def manager_of(model: Any, manager: Any = None) -> str:
    """`Post.objects`, or what that manager, or its default one, is called."""
    manager = manager or getattr(model, "_default_manager", None)
    return f"{getattr(model, '__name__', 'Model')}.{getattr(manager, 'name', None) or 'objects'}"


def has_filtering_manager(manager: Any) -> bool:
    """Whether a manager's get_queryset() is not Django's: not all rows may be there."""
    for kind in type(manager).__mro__:
        if "get_queryset" in kind.__dict__:
            return not kind.__module__.startswith("django.")
    return False


def free_name(model: Any, wanted: str) -> str:
    """A name for an attribute that no field, property or method of a model has."""
    taken = {name for kind in getattr(model, "__mro__", ()) for name in kind.__dict__}
    if model is not None:
        taken.update(field.name for field in model._meta.get_fields())
    while wanted in taken:
        wanted = f"{wanted}_"
    return wanted.strip("_") if wanted.strip("_") not in taken else f"the_{wanted.strip('_')}"


def filtered(where: Iterable[Condition], prefix: str = "") -> str:
    """The arguments of a filter() that makes these conditions; `...` where one call cannot."""
    found = list(where)
    if not all(each.is_certain for each in found):
        return "..."
    return ", ".join(dict.fromkeys([each.text(prefix) for each in found]))
