"""No span: which coroutine waits for the thread a query runs in, so that the query knows the line that awaited it.

We stand at `SyncToAsync.__call__`, the one way from async code to the ORM: in the thread there is nothing of the
coroutines on the stack, and every `await Author.objects.aget()` of a site would look like the same place.
"""

from __future__ import annotations

from types import FrameType

from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around
from clew.source.stack import AWAITING, Awaiting, waiting_from
from clew.story import local_trace


def _begin(caller: FrameType) -> Awaiting | None:
    if local_trace.current() is None and local_trace.of_current_span() is None:
        return None
    awaiting = Awaiting(waiting_from(caller), AWAITING.get())
    AWAITING.set(awaiting)
    return awaiting


def _end(opened: Awaiting) -> None:
    # Not by a token: tasks of one context (async receivers from Django 6.1 on) do not end in the order they began.
    following = opened.end()
    if AWAITING.get() is opened:
        AWAITING.set(following)


SEAM = Seam("django.async_bridge", patches=(Patch("asgiref.sync", "SyncToAsync.__call__", Around(_begin, close=_end)),))
