"""Where a transaction was opened: the line of the `with`, or the function `@atomic` decorates.

Read from the live frame of whoever entered the block. A decorated function is entered by one line of contextlib, which
knows the function; the one that is the resolved view itself was put there by ATOMIC_REQUESTS and is nobody's code.
"""

from __future__ import annotations

import contextlib
from types import CodeType, FrameType
from typing import Any

from clew.source import frames
from clew.source.call_site import CallSite, call_site
from clew.source.code_location import dotted_name, unwrapped

_DECORATOR = getattr(contextlib.ContextDecorator.__call__, "__code__", None)
_HANDLER = ("django.core.handlers.base", "_get_response")
# What the seam of the view calls it: in a function of its own, or given to a wrapper.
_CALLBACKS = ("callback", "_clew_bound_callback")
_NOTHING = object()
_MAX_KNOWN = 5_000
_known: dict[int, tuple[CodeType, CallSite | None]] = {}


def place_of(frame: FrameType | None) -> tuple[CallSite | None, bool]:
    """The line a block was opened at, and whether it is the one ATOMIC_REQUESTS puts around the view.

    Args:
        frame: of who called `Atomic.__enter__`.
    """
    if frame is None or not _is_decorator(frame):
        return call_site(frame), False
    function = frame.f_locals.get("func")
    if _is_around_view(frame, function):
        return None, True
    return _decorated(function) or call_site(frame), False


def _is_decorator(frame: FrameType) -> bool:
    code = frame.f_code
    return code.co_name == "inner" and _DECORATOR is not None and code.co_filename == _DECORATOR.co_filename


def _is_around_view(frame: FrameType, function: Any) -> bool:
    callback = _callback(frame.f_back)
    # Two databases with ATOMIC_REQUESTS: one block around the other around the view.
    while function is not callback and _is_decorated(function):
        function = function.__wrapped__
    return function is callback


def _callback(frame: FrameType | None) -> Any:
    """The resolved view, where whoever called the block is Django's handler or the view's seam."""
    while frame is not None:
        if _is_ours(frame):
            for name in _CALLBACKS:
                if name in frame.f_locals:
                    return frame.f_locals[name]
        elif not _is_decorator(frame):
            is_handler = (frame.f_globals.get("__name__"), frame.f_code.co_name) == _HANDLER
            return frame.f_locals.get("callback", _NOTHING) if is_handler else _NOTHING
        frame = frame.f_back
    return _NOTHING


def _is_ours(frame: FrameType) -> bool:
    return str(frame.f_globals.get("__name__", "")).startswith("clew.")


def _is_decorated(function: Any) -> bool:
    code = getattr(function, "__code__", None)
    return _DECORATOR is not None and code is not None and code.co_filename == _DECORATOR.co_filename


def _decorated(function: Any) -> CallSite | None:
    function = unwrapped(function)
    code = getattr(function, "__code__", None)
    if code is None:
        return None
    found = _known.get(id(code))
    if found is None:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        site = None
        if frames.is_application(code.co_filename):
            site = CallSite(code.co_filename, code.co_firstlineno, dotted_name(function), code)
        found = _known[id(code)] = (code, site)
    return found[1]
