"""One way of a thread into an event loop and back."""

from __future__ import annotations

from contextvars import ContextVar
from time import perf_counter_ns, time_ns
from types import FrameType
from typing import Any

from clew.engine import configuration
from clew.seams.django.async_bridge.hop import show
from clew.source.call_site import call_site
from clew.source.code_location import dotted_name, unwrapped
from clew.story import local_trace
from clew.story.hops import Wait, hops_of
from clew.story.local_trace import LocalTrace


class Entry:
    """A thread waits for a coroutine that it wants run.

    Args:
        local: whose it is.
    """

    __slots__ = ("_perf_ns", "began_ns", "local", "outer", "wait_ns")

    def __init__(self, local: LocalTrace) -> None:
        self.local, self.outer = local, _ENTRY.get()
        self.wait_ns: int | None = None
        self.began_ns, self._perf_ns = time_ns(), perf_counter_ns()

    def arrive(self) -> None:
        """A loop has come to it."""
        if self.wait_ns is None:
            self.wait_ns = perf_counter_ns() - self._perf_ns


_ENTRY: ContextVar[Entry | None] = ContextVar("clew_loop_entry", default=None)


def begin() -> Entry | None:
    """A thread is about to wait."""
    local = local_trace.current() or local_trace.of_current_span()
    if local is None:
        return None
    entry = Entry(local)
    _ENTRY.set(entry)
    return entry


def arrive(context: Any) -> None:
    """The loop begins with what a thread waits for; its context is put in place only then."""
    entry = context[0].get(_ENTRY) if context else None
    if entry is not None:
        entry.arrive()


def end(bridge: Any, /, opened: Entry, caller: FrameType) -> None:
    """It goes on."""
    _ENTRY.set(opened.outer)
    hops, wait_ns = hops_of(opened.local), opened.wait_ns or 0
    hops.count += 1
    hops.wait_ns += wait_ns
    if wait_ns >= configuration.settings.async_wait_threshold_ms * 1e6:
        function = unwrapped(bridge.awaitable)
        wait = Wait(dotted_name(function), wait_ns, call_site(caller), None, is_thread_sensitive=False)
        show("async_to_sync", opened.began_ns, wait, function)
