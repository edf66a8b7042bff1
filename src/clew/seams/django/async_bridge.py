"""No span: which coroutine waits for the thread a query runs in, so that the query knows the line that awaited it.

We stand at `SyncToAsync.__call__`, the one way from async code to the ORM: in the thread there is nothing of the
coroutines on the stack, and every `await Author.objects.aget()` of a site would look like the same place.
"""

from __future__ import annotations

from contextvars import Token
from types import FrameType
from typing import Any

from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around
from clew.source.stack import AWAITING, waiting_from
from clew.story import local_trace


def _begin(caller: FrameType) -> Token[Any] | None:
    if local_trace.current() is None and local_trace.of_current_span() is None:
        return None
    return AWAITING.set(waiting_from(caller))


def _end(opened: Token[Any], error: BaseException | None) -> None:
    AWAITING.reset(opened)


SEAM = Seam("django.async_bridge", patches=(Patch("asgiref.sync", "SyncToAsync.__call__", Around(_begin, close=_end)),))
