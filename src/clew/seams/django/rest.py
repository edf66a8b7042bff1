"""No span: exceptions that REST framework or Ninja answer 5xx by themselves are told on the view and the request.

We stand where both give an exception to the handler that answers it. Django never hears of it, and neither would
anybody else; what is answered 4xx stays no error. A permission, an authenticator or a throttle that has said no before
the handler ran is told as a decorator is (django.access).
"""

from __future__ import annotations

from collections.abc import Iterable
from types import FrameType
from typing import Any

from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around
from clew.seams.django.access import denied, inwards
from clew.seams.django.request.outcome import status_of
from clew.source import code_location
from clew.story import local_trace
from clew.story.local_trace import LocalTrace

# Where they are asked, and as what each is known there.
_ASKED = {
    ("rest_framework.views", "check_permissions"): "permission",
    ("rest_framework.views", "check_throttles"): "throttle",
    ("rest_framework.request", "_authenticate"): "authenticator",
    ("ninja.operation", "_run_authentication"): "callback",
    ("ninja.operation", "_check_throttles"): "throttle",
}
_REASONS = {"NotAuthenticated": "not authenticated", "AuthenticationFailed": "not authenticated"}
_BY_STATUS = {401: "not authenticated", 403: "permission denied", 429: "throttled"}


def _answered(exc: BaseException, result: Any, error: BaseException | None = None) -> None:
    local, status = local_trace.current(), status_of(result)
    if local is None:
        return
    # What is raised again, a view that has overridden this may answer.
    local.answered_error = exc if status >= 500 or error is not None else None
    if status in _BY_STATUS:
        frames = list(inwards(exc.__traceback__))
        # Later, a handler asks about an object by the same methods.
        if ("rest_framework.views", "initial") in map(_place, frames):
            _note_denied(local, exc, status, reversed(frames))


def _answered_by_ninja(exc: BaseException, result: Any, caller: FrameType) -> None:
    _answered(exc, result)
    local, status = local_trace.current(), status_of(result)
    if local is not None and status in _BY_STATUS:
        _note_denied(local, exc, status, (caller,))


def _note_denied(local: LocalTrace, error: BaseException, status: int, frames: Iterable[FrameType]) -> None:
    reason = f"{_REASONS.get(type(error).__name__) or _BY_STATUS[status]} ({status})"
    for frame in frames:
        asked = frame.f_locals.get(_ASKED.get(_place(frame), ""))
        if asked is not None:
            named = asked if hasattr(asked, "__qualname__") else type(asked)
            denied(local, code_location.dotted_name(named), reason)
            return


def _place(frame: FrameType) -> tuple[str, str]:
    return str(frame.f_globals.get("__name__")), frame.f_code.co_name


SEAM = Seam(
    "django.rest",
    patches=(
        Patch("rest_framework.views", "APIView.handle_exception", Around(note=_answered)),
        Patch("ninja.main", "NinjaAPI.on_exception", Around(note=_answered_by_ninja)),
    ),
)
