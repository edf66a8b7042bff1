"""Which part of a request or task some code runs in: a template, the view, a middleware, a task."""

from __future__ import annotations

from types import FrameType

from clew.engine import needs
from clew.source import frames
from clew.source.frames import OURS, kind_of
from clew.source.stack import stack

_VIEW_SEAMS, _WRAPPER = ("clew.seams.django.view", "clew.seams.asgi.websocket"), "clew.engine.wrapper"
_PHASES = {
    frames.TEMPLATE_NODE: "template",
    frames.TEMPLATE: "template",
    frames.JINJA: "template",
    frames.SERIALIZER: "serializer",
    frames.SERIALIZER_FIELDS: "serializer",
    frames.SIGNAL: "signal",
    frames.HOOK: "hook",
    frames.VIEW: "view",
    frames.MIDDLEWARE: "middleware",
    frames.TASK: "task",
}
needs.declare(
    __name__,
    *needs.inside(frames.HANDLERS, "BaseHandler._get_response", "wrapped_callback"),
    *needs.inside(frames.HANDLERS, "BaseHandler._get_response_async", "wrapped_callback"),
    consequence="queries of views are told as middleware's",
)


def phase_of(frame: FrameType | None) -> str:
    """Which part of a request or task the code runs in: the innermost that can be told; "" when none can."""
    for each in stack(frame, with_ours=True):
        kind = kind_of(each)
        if kind == OURS and _seam_of(each) in _VIEW_SEAMS:
            return _PHASES[frames.VIEW]  # the only sign of it where Django runs an async view in a loop of its own
        if kind == frames.VIEW and "wrapped_callback" not in each.f_locals:
            kind = frames.MIDDLEWARE  # it is still at the middleware's `process_view`
        found = _PHASES.get(kind)
        if found is not None:
            return found
    return ""


def _seam_of(frame: FrameType) -> str:
    """The module of the seam whose function, or whose wrapper, a frame of clew's is of."""
    module: str = frame.f_globals["__name__"]
    return getattr(frame.f_locals.get("_clew_open"), "__module__", "") if module == _WRAPPER else module
