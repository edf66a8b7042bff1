"""Who sends a task: not the `apply_async` of an application's base class, through which all its tasks are sent."""

from __future__ import annotations

from types import FrameType

from clew.source.call_site import CallSite, call_site
from clew.source.frames import APPLICATION, FIRST_END, JINJA, TEMPLATE_NODE, THREAD, kind_of
from clew.source.stack import stack

_SENDING = frozenset(("apply_async", "apply_async_on_commit", "delay", "delay_on_commit", "retry", "send_task"))
_WHOSE = ("celery.app.task", "celery.app.base")


def sender_of(frame: FrameType | None) -> FrameType | None:
    """The frame from which to look for the application's line that sends.

    Args:
        frame: where to begin, outwards; it is the answer where nobody else sends.
    """
    start = frame
    for each in stack(frame):
        kind = kind_of(each)
        if kind >= FIRST_END and kind != THREAD:
            break
        if kind == APPLICATION and _sends_for_others(each):
            start = each.f_back
        elif kind in (APPLICATION, TEMPLATE_NODE, JINJA):
            return start
    return frame


def sending_site(frame: FrameType | None) -> CallSite | None:
    """The `call_site` of who sends."""
    return call_site(sender_of(frame))


def _sends_for_others(frame: FrameType) -> bool:
    code = frame.f_code
    if code.co_name not in _SENDING or not code.co_argcount:
        return False
    owner = type(frame.f_locals.get(code.co_varnames[0]))
    return any(each.__module__ in _WHOSE for each in owner.__mro__)
