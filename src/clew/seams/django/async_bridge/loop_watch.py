"""Whether an event loop that serves requests still goes round, and the line that keeps it from that.

One thread asks each loop that has requests for a sign of life, every half of the threshold, and sleeps in between;
where none has come it looks at the stack of the loop's thread. While no loop has requests it waits without waking at
all. Nothing is measured in the loop itself, so a request costs two counts, and a loop one empty callback each time.
"""

from __future__ import annotations

import asyncio
import sys
import threading
from collections.abc import Iterator
from time import perf_counter_ns
from types import FrameType
from typing import Any

from clew.engine import configuration, forks, green, isolation
from clew.source import frames
from clew.source.call_site import call_site
from clew.spans import local_spans
from clew.story.detector import watchers
from clew.story.local_trace import LocalTrace
from clew.story.loop_block import LoopBlock

# Looks without a request until the thread waits to be woken.
_IDLE_LOOKS = 20
# The innermost frame of a loop that waits for events, or of a person who looks around.
_AT_REST = ("selectors", "asyncio.base_events", "asyncio.runners", "uvloop", "uvicorn.server", "twisted", "pdb", "bdb")
# A module that is imported in the first request is no habit.
_ONCE = ("importlib._bootstrap", "importlib._bootstrap_external")
_MAX_FRAMES = 300


class WatchedLoop:
    """One loop.

    Args:
        loop: asyncio's.
    """

    __slots__ = ("active", "asked_ns", "block", "is_asked", "looks", "loop", "thread_id")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.thread_id = threading.get_ident()
        # Requests it serves now.
        self.active = 0
        self.is_asked = False
        self.asked_ns = self.looks = 0
        self.block: LoopBlock | None = None

    def ask(self, now_ns: int) -> None:
        """Ask for a sign of life."""
        self.asked_ns, self.looks, self.is_asked = now_ns, 0, True
        self.loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        if self.block is not None:
            self.block.ended_ns, self.block = perf_counter_ns(), None
        self.is_asked = False


class LoopWatch:
    """The thread, and the loops it watches."""

    def __init__(self) -> None:
        self.loops: dict[int, WatchedLoop] = {}
        self.is_waiting = self.is_stopped = False
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()

    def enter(self) -> WatchedLoop | None:
        """A request begins in the running loop."""
        loop = asyncio._get_running_loop()
        if loop is None or not watchers.on_loop_blocked:
            return None
        found = self.loops.get(id(loop))
        if found is None or found.loop is not loop:
            found = self.loops[id(loop)] = WatchedLoop(loop)
        found.active += 1
        if self._thread is None or self.is_waiting:
            self._begin()
        return found

    def stop(self) -> None:
        """Watch no longer."""
        self.is_stopped = True
        self._wake.set()
        self.loops.clear()

    def _begin(self) -> None:
        with self._lock:
            self._wake.set()
            if self._thread is None and not self.is_stopped:
                self._thread = threading.Thread(target=self._run, name="clew-loop-watch", daemon=True)
                try:
                    forks.start(self._thread)
                except RuntimeError:
                    self.is_stopped = True  # the interpreter is ending, or there may be no more threads

    def _run(self) -> None:
        idle, last_ns, sleeping = 0, 0, threading.Event()
        while not self.is_stopped:
            interval_s = configuration.settings.blocking_on_loop_threshold_ms / 2000 or 1
            sleeping.wait(interval_s)
            now_ns = perf_counter_ns()
            is_late = now_ns - last_ns > 3e9 * interval_s  # nobody's turn came: the machine's fault
            last_ns, is_busy = now_ns, False
            for key, watched in list(self.loops.items()):
                if watched.active > 0:
                    is_busy = True
                    self._look(key, watched, now_ns, is_late=is_late)
                elif idle:
                    self.loops.pop(key, None)
            idle = 0 if is_busy else idle + 1
            if idle > _IDLE_LOOKS:
                self._wait()
                idle = 0

    def _wait(self) -> None:
        self._wake.clear()
        self.is_waiting = True
        if not any(each.active for each in list(self.loops.values())) and not self.is_stopped:
            self._wake.wait()
        self.is_waiting = False

    def _look(self, key: int, watched: WatchedLoop, now_ns: int, *, is_late: bool) -> None:
        try:
            if not watched.is_asked:
                watched.ask(now_ns)
                return
            watched.looks = 0 if is_late else watched.looks + 1
            limit_ns = configuration.settings.blocking_on_loop_threshold_ms * 1e6
            if limit_ns and watched.looks > 1 and watched.block is None and now_ns - watched.asked_ns >= limit_ns:
                _sample(watched)
        except RuntimeError:
            self.loops.pop(key, None)  # the loop is closed
        except Exception as error:  # noqa: BLE001 - ours must not end the watch
            isolation.report(error, __name__)


def _sample(watched: WatchedLoop) -> None:
    frame = sys._current_frames().get(watched.thread_id)
    if frame is None or not watched.is_asked or _is_at_rest(frame):
        return
    local, site = _local_of(watched.loop, frame), call_site(frame)
    if local is None or local.is_over or site is None:
        return
    block = watched.block = LoopBlock(local, site, frame, watched.asked_ns)
    for on_loop_blocked in watchers.on_loop_blocked:
        on_loop_blocked(block)
    block.frame = None


def _is_at_rest(frame: FrameType) -> bool:
    if str(frame.f_globals.get("__name__", "")).startswith(_AT_REST):
        return True
    return any(each.f_globals.get("__name__") in _ONCE for each in _outwards(frame))


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    left = _MAX_FRAMES
    while frame is not None and left:
        yield frame
        frame, left = frame.f_back, left - 1


def _local_of(loop: asyncio.AbstractEventLoop, frame: FrameType) -> LocalTrace | None:
    """Whose code a loop is running: by its task's context, or, before Python 3.12, by our own frames below it."""
    task = asyncio.current_task(loop)
    context: Any = getattr(task, "get_context", None)
    if context is not None:
        found = local_spans.in_context(context())
        if isinstance(found, LocalTrace):
            return found
    for each in _outwards(frame):
        if frames.kind_of(each) == frames.OURS:
            held = each.f_locals
            local = getattr(held.get("_clew_opened") or held.get("opened"), "local", None)
            if isinstance(local, LocalTrace):
                return local
    return None


class _State:
    watch: LoopWatch | None = None


@forks.renew
def _forget() -> None:
    """A child's loops and threads are its own."""
    _State.watch = None


def enter() -> WatchedLoop | None:
    """A request begins; among greenlets, where every thread is one, nothing is watched."""
    watch = _State.watch
    if watch is None:
        watch = _State.watch = LoopWatch()
        watch.is_stopped = bool(green.patched_by())
    return None if watch.is_stopped else watch.enter()


def leave(opened: WatchedLoop) -> None:
    """It is answered."""
    opened.active -= 1


def stop() -> None:
    """Watch no longer; the next request begins anew."""
    watch, _State.watch = _State.watch, None
    if watch is not None:
        watch.stop()
