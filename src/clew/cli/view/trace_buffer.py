"""Decides when a trace is whole enough to be shown.

Spans come in batches, from several processes, children before parents. Shown at once, one request would be
scattered over the screen; held back until all is certain, nothing would ever appear. So a trace is shown when
it looks complete and has been quiet for a moment, and otherwise when waiting longer would not help.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

from clew.cli.view.span_record import SpanRecord

# The SDK's batch processor sends every five seconds: what another process has finished is here by then.
PATIENCE = 7.0
# A trace that never rests (a task that publishes the next one) must not be held for ever.
_AGE_LIMIT = 60.0
_MOST_REMEMBERED = 300
_MOST_NAMES = 2_000


@dataclass(slots=True)
class Part:
    """Spans to show together.

    Args:
        records: of one trace, or of several that links join.
        known: names of spans shown earlier, by trace id and span id, as `format_trace` takes them.
        new: how many of the traces were not shown before.
    """

    records: list[SpanRecord]
    known: dict[str, dict[str, str]]
    new: int


@dataclass(slots=True)
class _Open:
    first: float
    last: float
    records: list[SpanRecord] = field(default_factory=list)
    parents: set[str] = field(default_factory=set)
    joined: set[str] = field(default_factory=set)
    checked: tuple[int, bool] = (0, False)


class TraceBuffer:
    """Collects spans until their trace can be shown.

    Args:
        settle: seconds without news after which a complete trace is shown.
        patience: seconds without news after which an incomplete one is.
        max_traces: traces held at once; the oldest is dropped for a new one.
        max_spans: spans held at once, and a tenth of them in one trace (a fifth with errors and parents).
        clock: seconds that only grow.
    """

    def __init__(
        self,
        *,
        settle: float = 1.0,
        patience: float = PATIENCE,
        max_traces: int = 1000,
        max_spans: int = 100_000,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settle, self._patience, self._clock = settle, max(patience, settle), clock
        self._max_traces, self._max_spans = max_traces, max_spans
        self._lock = threading.Lock()
        self._open: dict[str, _Open] = {}
        self._shown: OrderedDict[str, dict[str, str]] = OrderedDict()
        self._held = self._dropped_traces = self._dropped_spans = 0

    def add(self, records: Iterable[SpanRecord]) -> None:
        """Take spans; safe to call from any thread."""
        with self._lock:
            now = self._clock()
            for record in records:
                self._add(record, now)
            while len(self._open) > self._max_traces or self._held > self._max_spans:
                self._drop_oldest()

    def ready(self) -> list[Part]:
        """Take out the traces that should be shown now, the one that began first first."""
        with self._lock:
            now = self._clock()
            quiet = [key for key, trace in self._open.items() if self._is_due(trace, now)]
            return self._take(quiet, now)

    def rest(self) -> list[Part]:
        """Take out everything, complete or not."""
        with self._lock:
            return self._take(list(self._open), None)

    def dropped(self) -> tuple[int, int]:
        """Traces dropped whole and spans dropped, since this was asked last."""
        with self._lock:
            counts = self._dropped_traces, self._dropped_spans
            self._dropped_traces = self._dropped_spans = 0
            return counts

    def _add(self, record: SpanRecord, now: float) -> None:
        trace = self._open.setdefault(record.trace_id, _Open(now, now))
        trace.last = now
        if not self._has_room(trace, record):
            self._dropped_spans += 1
            return
        trace.records.append(record)
        trace.parents.add(record.parent_span_id)
        self._held += 1
        if record.kind == "CONSUMER":
            trace.joined.update(link[0] for link in record.links if link[0] != record.trace_id)

    def _has_room(self, trace: _Open, record: SpanRecord) -> bool:
        # One runaway trace must not push out all others. Parents end after their children, so the spans that
        # come last are those that hold the tree together: they get as much room again.
        share, held = self._max_spans // 10, len(trace.records)
        needed = record.span_id in trace.parents or not record.parent_span_id or record.status == "ERROR"
        return held < share or (needed and held < 2 * share)

    def _drop_oldest(self) -> None:
        # Dictionaries keep their order, so the first is the one that began first.
        trace = self._open.pop(next(iter(self._open)))
        self._held -= len(trace.records)
        self._dropped_traces += 1
        self._dropped_spans += len(trace.records)

    def _is_due(self, trace: _Open, now: float) -> bool:
        return now - trace.last >= self._settle or now - trace.first >= _AGE_LIMIT

    def _take(self, keys: list[str], now: float | None) -> list[Part]:
        parts = []
        near = self._neighbours()
        for key in keys:
            if key not in self._open:
                continue
            group = self._group(key, near)
            if now is None or self._should_show(group, now):
                parts.append(self._part(group))
        return parts

    def _neighbours(self) -> dict[str, set[str]]:
        """The open traces that consumers' links join, each with those at the other ends."""
        near: dict[str, set[str]] = {}
        for key, trace in self._open.items():
            for target in trace.joined & self._open.keys():
                near.setdefault(key, set()).add(target)
                near.setdefault(target, set()).add(key)
        return near

    def _group(self, key: str, near: dict[str, set[str]]) -> list[str]:
        """A trace and all that are joined to it, directly or through others."""
        group, pending = {key}, [key]
        while pending:
            new = near.get(pending.pop(), set()) - group
            group |= new
            pending += new
        return sorted(group, key=lambda other: self._open[other].first)

    def _should_show(self, group: list[str], now: float) -> bool:
        traces = [self._open[key] for key in group]
        quiet = now - max(trace.last for trace in traces)
        if now - min(trace.first for trace in traces) >= _AGE_LIMIT or quiet >= self._patience:
            return True
        return quiet >= self._settle and self._is_complete(traces)

    def _is_complete(self, traces: list[_Open]) -> bool:
        size = sum(len(trace.records) for trace in traces)
        # Asked ten times a second while a trace waits; it only changes when spans come.
        if traces[0].checked[0] != size:
            traces[0].checked = size, self._check([r for trace in traces for r in trace.records])
        return traces[0].checked[1]

    def _check(self, records: list[SpanRecord]) -> bool:
        """Whether no parent is missing, and no publish lacks the task it started.

        A task runs in another process, which sends later than the request that published it. People look for
        the two together, so a publish without its task is waited for; a task that comes later still is shown
        as a continuation.
        """
        here = {(record.trace_id, record.span_id) for record in records}
        awaited, answered = set(), set()
        for record in records:
            above = (record.trace_id, record.parent_span_id)
            # Only a task's links are waited for: others point at earlier tries or at traces long gone.
            targets = [link[:2] for link in record.links] if record.kind == "CONSUMER" else []
            for target in [*targets, above] if record.parent_span_id else targets:
                if target not in here and target[1] not in self._shown.get(target[0], ()):
                    return False
            if record.kind == "CONSUMER":
                answered.update([above, *targets])
            elif record.kind == "PRODUCER":
                awaited.add((record.trace_id, record.span_id))
        return awaited <= answered

    def _part(self, group: list[str]) -> Part:
        records = [record for key in group for record in self._open[key].records]
        known = {key: names for key, names in self._shown.items() if key in group}
        for trace in {link[0] for record in records for link in record.links} & self._shown.keys():
            known[trace] = self._shown[trace]
        known = {trace: dict(names) for trace, names in known.items()}
        new = sum(key not in self._shown for key in group)
        for key in group:
            self._remember(key, self._open.pop(key).records)
        self._held -= len(records)
        return Part(records, known, new)

    def _remember(self, key: str, records: list[SpanRecord]) -> None:
        names = self._shown.setdefault(key, {})
        self._shown.move_to_end(key)
        # What comes later hangs under a publish more often than under anything else.
        likely = sorted(records, key=lambda record: record.kind != "PRODUCER")
        names.update((record.span_id, record.name) for record in likely[: max(_MOST_NAMES - len(names), 0)])
        while len(self._shown) > _MOST_REMEMBERED:
            self._shown.popitem(last=False)
