"""How often a request or task went between event loops and threads, and what it waited for threads."""

from __future__ import annotations

from dataclasses import dataclass

from clew import attributes as names
from clew.source.call_site import CallSite
from clew.story.local_trace import LocalTrace, Slot

_MAX_WAITS = 100


@dataclass(frozen=True)
class Work:
    """What a thread has done for a coroutine.

    Args:
        what: dotted name of the function.
        local: whose it was; None: of nothing that is traced.
        ended_ns: when it was over.
    """

    what: str
    local: LocalTrace | None
    ended_ns: int


@dataclass(frozen=True)
class Wait:
    """A coroutine waited for a thread.

    Args:
        what: dotted name of the function it wanted run.
        took_ns: how long it waited.
        site: the line that awaits it.
        held_by: what the thread was busy with; None: nothing that is known.
        is_thread_sensitive: whether it had to be that very thread.
    """

    what: str
    took_ns: int
    site: CallSite | None
    held_by: Work | None
    is_thread_sensitive: bool


class Hops:
    """Those of one request or task.

    Args:
        local: the request or task.
    """

    __slots__ = ("_local", "count", "wait_ns", "waits")

    def __init__(self, local: LocalTrace) -> None:
        self._local = local
        self.count = self.wait_ns = 0
        # Those that were worth a look.
        self.waits: list[Wait] = []
        local.at_end.append(self._say)

    def add(self, wait: Wait) -> None:
        """Keep a wait."""
        if len(self.waits) < _MAX_WAITS:
            self.waits.append(wait)

    def _say(self) -> None:
        self._local.root.note(names.CLEW_ASYNC_HOP_COUNT, self.count)
        if self.wait_ns:
            self._local.root.note(names.CLEW_ASYNC_WAIT_MS, round(self.wait_ns / 1e6, 3))


HOPS: Slot[Hops] = Slot()


def hops_of(local: LocalTrace) -> Hops:
    """Those of this request or task."""
    return HOPS.get(local) or HOPS.put(local, Hops(local))
