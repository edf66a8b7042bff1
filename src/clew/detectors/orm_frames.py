"""Which function of Django's each frame between the application and a query is, and what that means for it.

By module and name instead of by code object, because several are closures (the managers of relations), and because
nothing of Django's has to be imported for it. Innermost first, the first one with a meaning decides.
"""

from __future__ import annotations

from types import FrameType
from typing import Any, Final

FORWARD: Final = "forward"
DEFERRED: Final = "deferred"
GENERIC: Final = "generic"
PREFETCH: Final = "prefetch"
REFRESH: Final = "refresh"
# Django asks several times by itself, or makes sure of something: not to be mended where it is called.
ITS_OWN: Final = "its_own"
CHUNKS: Final = "chunks"
# It belongs to a write, which may be one of a loop of writes.
WRITING: Final = "writing"

_DESCRIPTORS = "django.db.models.fields.related_descriptors"
_GENERIC = "django.contrib.contenttypes.fields"
_QUERY = "django.db.models.query"
_BASE = "django.db.models.base"

_MEANINGS: dict[tuple[str, str], str] = {
    (_DESCRIPTORS, "__get__"): FORWARD,
    (_GENERIC, "__get__"): GENERIC,
    ("django.db.models.query_utils", "__get__"): DEFERRED,
    (_QUERY, "prefetch_one_level"): PREFETCH,
    (_BASE, "refresh_from_db"): REFRESH,
}


def _also(module: str, functions: str, meaning: str) -> None:
    _MEANINGS.update({(module, function): meaning for function in functions.split()})


_also(_BASE, "_perform_unique_checks _perform_date_checks validate_unique validate_constraints", ITS_OWN)
_also(_QUERY, "_iterator aiterator", CHUNKS)
_also(_QUERY, "in_bulk fetch_many", ITS_OWN)
_also("django.db.models.query_utils", "fetch_many", ITS_OWN)
_also("django.db.models.constraints", "validate", ITS_OWN)
_also("django.db.models.fields.related", "validate", ITS_OWN)
_also("django.forms.models", "validate_unique", ITS_OWN)
_also("django.contrib.contenttypes.models", "get_for_id get_for_model get_for_models get_by_natural_key", ITS_OWN)
_also("django.contrib.auth", "get_user aget_user", ITS_OWN)
_also("django.contrib.sites.models", "get_current", ITS_OWN)
_also("django.db.models.deletion", "collect delete can_fast_delete related_objects", WRITING)
_also(_QUERY, "_batched_insert bulk_create bulk_update get_or_create update_or_create", WRITING)
_also(_BASE, "save_base _save_table _do_update", WRITING)
_also(_DESCRIPTORS, "add set remove clear _clear _add_items _remove_items _get_missing_target_ids", WRITING)
_also(_GENERIC, "add set remove clear _clear", WRITING)

# All of these packages: sessions and caches in the database, migrations, fixtures.
SYSTEM = ("django.contrib.sessions", "django.core.cache", "django.db.migrations", "django.core.management.commands")


def meaning(frame: FrameType) -> str:
    """What a frame means; "" for most."""
    module = frame.f_globals.get("__name__", "")
    found = _MEANINGS.get((module, frame.f_code.co_name), "")
    if not found and type(module) is str and module.startswith(SYSTEM):
        return ITS_OWN
    return found


def self_of(frame: FrameType) -> Any:
    """The object whose method a frame is; None for a function."""
    names = frame.f_code.co_varnames
    return frame.f_locals.get("self") if names and names[0] == "self" else None


def is_of(kind: type, module: str, name: str) -> bool:
    """Whether a class is, or inherits from, the one of that name; without importing it."""
    return any(base.__name__ == name and base.__module__ == module for base in kind.__mro__)


def is_queryset(kind: type) -> bool:
    """Whether a class is one of querysets, raw ones included."""
    return is_of(kind, _QUERY, "QuerySet") or is_of(kind, _QUERY, "RawQuerySet")


def is_manager(kind: type) -> bool:
    """Whether a class is one of managers."""
    return is_of(kind, "django.db.models.manager", "BaseManager")


def is_model(kind: type) -> bool:
    """Whether a class is a model."""
    return is_of(kind, _BASE, "Model")
