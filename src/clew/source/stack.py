"""The frames below a query, through a thread to the coroutines that wait for it."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from types import FrameType

from clew.source import frames
from clew.source.frames import OURS, THREAD

MAX_FRAMES = 300


class Awaiting:
    """A coroutine that waits for a thread (seams/django/async_bridge.py).

    Args:
        frames: of the coroutines that wait, innermost first.
        outer: the one that waits for the thread these run in.
    """

    __slots__ = ("frames", "is_over", "outer")

    def __init__(self, frames: tuple[FrameType, ...], outer: Awaiting | None) -> None:
        self.frames = frames
        self.outer = outer
        self.is_over = False

    def end(self) -> Awaiting | None:
        """It waits no longer; returns the next that does."""
        self.is_over, self.frames = True, ()
        found: Awaiting | None = self
        while found is not None and found.is_over:
            found = found.outer
        return found


# Who waits for the thread this runs in.
AWAITING: ContextVar[Awaiting | None] = ContextVar("clew_awaiting", default=None)


def stack(frame: FrameType | None, *, with_ours: bool = False) -> Iterator[FrameType]:
    """The frames from `frame` outwards, through a thread to the coroutines that wait for it; without clew's own."""
    left, kinds = MAX_FRAMES, frames.KINDS
    while frame is not None and left:
        kind = kinds.get(id(frame.f_code))
        if kind is None:
            kind = frames.learn(frame)
        if kind != OURS:
            left -= 1
            yield frame
            if kind == THREAD:
                yield from awaiting_frames()
                return
        elif with_ours:
            yield frame
        frame = frame.f_back


def awaiting_frames() -> tuple[FrameType, ...]:
    """Frames of the coroutines that wait for this thread, innermost first."""
    awaiting = AWAITING.get()
    return () if awaiting is None else awaiting.frames


def waiting_from(frame: FrameType | None) -> tuple[FrameType, ...]:
    """The same, told by the event loop's thread before it waits: later they may be suspended, or not yet."""
    found: list[FrameType] = []
    while frame is not None and frame.f_globals.get("__name__") != "asyncio.events" and len(found) < MAX_FRAMES:
        found.append(frame)
        frame = frame.f_back
    return tuple(found)
