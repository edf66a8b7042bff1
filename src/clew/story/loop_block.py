"""Something that kept an event loop from its other work, as the watch of the seam django.async_bridge has seen it."""

from __future__ import annotations

from dataclasses import dataclass
from time import perf_counter_ns
from types import FrameType

from clew.source.call_site import CallSite
from clew.story.local_trace import LocalTrace


@dataclass(slots=True, eq=False)
class LoopBlock:
    """One stretch in which a loop did nothing else.

    Args:
        local: the request or task whose code it was.
        site: the line it was at.
        frame: where in the stack that was; only while a detector is told.
        began_ns: since when at the latest, by `perf_counter_ns`.
        ended_ns: until when; 0: it has not ended, as far as is known.
    """

    local: LocalTrace
    site: CallSite
    frame: FrameType | None
    began_ns: int
    ended_ns: int = 0

    @property
    def duration_ns(self) -> int:
        """How long it was, so far."""
        return (self.ended_ns or perf_counter_ns()) - self.began_ns
