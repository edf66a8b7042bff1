"""What a request or task has asked of other services, by anybody's instrumentation: how often, and for how long."""

from __future__ import annotations

from clew import attributes as names
from clew.story.local_trace import LocalTrace, Slot

_MAX_OPEN, _MAX_SYSTEMS = 1_000, 20


class ExternalCalls:
    """The calls of one request or task.

    Args:
        local: the request or task.
    """

    __slots__ = ("_by_system", "_local", "_open")

    def __init__(self, local: LocalTrace) -> None:
        self._local = local
        # Ids of the spans of calls that are being made.
        self._open: set[int] = set()
        self._by_system: dict[str, tuple[int, int]] = {}
        local.at_end.append(self._say)

    def begin(self, span_id: int) -> None:
        """A call is made."""
        if len(self._open) < _MAX_OPEN:
            self._open.add(span_id)

    def end(self, span_id: int, system: str | None, took_ns: int) -> None:
        """It is over; what was not begun, or is of no other system (None), is not counted."""
        if span_id not in self._open:
            return
        self._open.discard(span_id)
        if system is None:
            return
        key = system if system in self._by_system or len(self._by_system) < _MAX_SYSTEMS else "other"
        count, total_ns = self._by_system.get(key, (0, 0))
        self._by_system[key] = count + 1, total_ns + took_ns

    def _say(self) -> None:
        note, systems = self._local.root.note, sorted(self._by_system.items())
        if systems:
            note(names.CLEW_EXTERNAL_COUNT, sum(count for _, (count, _) in systems))
            note(names.CLEW_EXTERNAL_DURATION_MS, _ms(sum(took_ns for _, (_, took_ns) in systems)))
        for system, (count, took_ns) in systems:
            note(names.CLEW_EXTERNAL_SYSTEM_COUNT.replace("<system>", system), count)
            note(names.CLEW_EXTERNAL_SYSTEM_DURATION_MS.replace("<system>", system), _ms(took_ns))


def _ms(took_ns: int) -> float:
    return round(took_ns / 1e6, 3)


_CALLS: Slot[ExternalCalls] = Slot()


def calls_of(local: LocalTrace) -> ExternalCalls:
    """Those of this request or task."""
    return _CALLS.get(local) or _CALLS.put(local, ExternalCalls(local))
