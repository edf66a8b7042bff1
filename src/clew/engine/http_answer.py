"""Whether an exception is an answer of 4xx: of the framework whose code it leaves, that is no error of the span."""

from __future__ import annotations

from typing import Any

# By name: nothing of these is imported here.
_DJANGO = ("Http404", "PermissionDenied", "BadRequest", "SuspiciousOperation", "MultiPartParserError")
# They answer by what the exception says. One of another library (a client's, of a call to another service) that has
# a status is an error: Django makes a 500 of it.
_BY_STATUS = ("rest_framework.", "ninja.", "ninja_extra.")


def is_answer(error: BaseException | None) -> bool:
    """Whether Django, its REST framework or Ninja make a 4xx of this exception.

    Args:
        error: what leaves a view, a middleware or a block.
    """
    if error is None:
        return False
    kinds = type(error).__mro__
    if any(kind.__name__ in _DJANGO and kind.__module__.startswith("django.") for kind in kinds):
        return True
    if not any(kind.__module__.startswith(_BY_STATUS) for kind in kinds):
        return False
    status = _status(error, kinds)
    return type(status) is int and 400 <= status < 500


def _status(error: BaseException, kinds: tuple[type, ...]) -> Any:
    """Its `status_code`, no property of it: that would be the application's code."""
    for holder in (getattr(error, "__dict__", {}), *map(vars, kinds)):
        if "status_code" in holder:
            return holder["status_code"]
    return None
