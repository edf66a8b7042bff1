"""Whether an exception is the application's way to answer 4xx: that is no error of the span it leaves."""

from __future__ import annotations

from typing import Any

# Django's, by name: nothing of Django is imported here.
_DJANGO = ("Http404", "PermissionDenied", "BadRequest", "SuspiciousOperation", "MultiPartParserError")


def is_answer(error: BaseException | None) -> bool:
    """Whether Django makes a 4xx of this exception, or it says itself that it is one (Django REST framework, Ninja).

    Args:
        error: what leaves a view, a middleware or a block.
    """
    if error is None:
        return False
    kinds = type(error).__mro__
    if any(kind.__name__ in _DJANGO and kind.__module__.startswith("django.") for kind in kinds):
        return True
    status = _status(error, kinds)
    return type(status) is int and 400 <= status < 500


def _status(error: BaseException, kinds: tuple[type, ...]) -> Any:
    """Its `status_code`, no property of it: that would be the application's code."""
    for holder in (getattr(error, "__dict__", {}), *map(vars, kinds)):
        if "status_code" in holder:
            return holder["status_code"]
    return None
