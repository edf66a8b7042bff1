"""No span: exceptions that REST framework or Ninja answer 5xx by themselves are told on the view and the request.

We stand where both give an exception to the handler that answers it. Django never hears of it, and neither would
anybody else; what is answered 4xx stays no error.
"""

from __future__ import annotations

from typing import Any

from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around
from clew.seams.django.request.outcome import status_of
from clew.story import local_trace


def _answered(exc: BaseException, result: Any) -> None:
    local = local_trace.current()
    if local is not None:
        local.answered_error = exc if status_of(result) >= 500 else None


SEAM = Seam(
    "django.rest",
    patches=(
        Patch("rest_framework.views", "APIView.handle_exception", Around(note=_answered)),
        Patch("ninja.main", "NinjaAPI.on_exception", Around(note=_answered)),
    ),
)
