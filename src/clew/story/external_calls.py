"""What a request or task has asked of other services, by anybody's instrumentation: how often, and for how long."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from clew import attributes as names
from clew.source.call_site import CallSite
from clew.story.detector import watchers
from clew.story.findings import Finding
from clew.story.local_trace import LocalTrace, Slot

_MAX_OPEN, _MAX_SYSTEMS = 1_000, 20


@dataclass(slots=True, eq=False)
class ExternalCall:
    """One call to another service.

    Args:
        local: the request or task.
        span: another instrumentation's.
        site: the application's line.
        frame: where in the stack it is made; None once it is over.
        system: http, redis, kafka; told once it is over.
        took_ns: how long it took.
        attributes: those of its span, once it is over.
        held: what detectors keep of it, by their type.
    """

    local: LocalTrace
    span: Any
    site: CallSite | None
    frame: FrameType | None
    system: str = ""
    took_ns: int = 0
    attributes: Any = None
    held: dict[str, Any] = field(default_factory=dict)

    def report(self, finding: Finding, key: Hashable) -> None:
        """Take a finding, told when the call is over: the root says it, and names its span, which has the mark."""
        if self.local.report(finding, key):
            finding.span = self.span
            # Closed to its public setters by now (opentelemetry-python #5614), as in processors/detect.py.
            held = self.span._attributes
            getattr(held, "_dict", held)[names.finding(finding.type)] = True


class ExternalCalls:
    """The calls of one request or task.

    Args:
        local: the request or task.
    """

    __slots__ = ("_by_system", "_local", "_open", "memo")

    def __init__(self, local: LocalTrace) -> None:
        self._local = local
        # Calls that are being made, by the ids of their spans.
        self._open: dict[int, ExternalCall] = {}
        self._by_system: dict[str, tuple[int, int]] = {}
        # What detectors know of them.
        self.memo: dict[str, Any] = {}
        local.at_end.append(self._note_on_root)

    def begin(self, span: Any, site: CallSite | None, frame: FrameType) -> None:
        """Begin a call."""
        if len(self._open) >= _MAX_OPEN:
            return
        call = self._open[span.get_span_context().span_id] = ExternalCall(self._local, span, site, frame)
        for on_call_begin in watchers.on_call_begin:
            on_call_begin(call, self)
        call.frame = None

    def end(self, span_id: int, system: str | None, took_ns: int, attributes: Any) -> None:
        """It is over; what was not begun, or is of no other system (None), is not counted."""
        call = self._open.pop(span_id, None)
        if call is None or system is None:
            return
        key = system if system in self._by_system or len(self._by_system) < _MAX_SYSTEMS else "other"
        count, total_ns = self._by_system.get(key, (0, 0))
        self._by_system[key] = count + 1, total_ns + took_ns
        call.system, call.took_ns, call.attributes = system, took_ns, attributes
        for on_call_end in watchers.on_call_end:
            on_call_end(call, self)

    def _note_on_root(self) -> None:
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
    """The external calls of this request or task."""
    return _CALLS.get(local) or _CALLS.put(local, ExternalCalls(local))
