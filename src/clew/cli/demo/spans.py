"""The spans the demo received: when those of its visit are all there, and what is missing if they are not.

The demo must not pretend: it says "one trace" only of spans that went from another process through its SDK, its
exporter and the network.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

from clew.cli.demo.drive import Step
from clew.cli.view.span_record import SpanRecord

WEB, LIVE, WORKER = "demo-web", "demo-live", "demo-worker"
FORM = ("POST", "/orders/new/")
_INVOICE, _WAREHOUSE = "shop.tasks.send_invoice", "shop.tasks.tell_warehouse"
_QUIET_SECONDS = 0.4
_LOOK_SECONDS = 0.1


class Inbox:
    """Keeps received spans by trace.

    Args:
        watch: called with every batch.
    """

    def __init__(self, watch: Callable[[list[SpanRecord]], None]) -> None:
        self._watch = watch
        self._lock = threading.Lock()
        self._traces: dict[str, list[SpanRecord]] = {}
        self._last = time.monotonic()

    def add(self, records: list[SpanRecord]) -> None:
        """Take the spans of one export request."""
        with self._lock:
            self._last = time.monotonic()
            for record in records:
                self._traces.setdefault(record.trace_id, []).append(record)
        self._watch(records)

    def story(self, trace: str) -> list[SpanRecord]:
        """The spans of a trace, by its id or a span's name, and of those whose tasks say by a link that they go on."""
        with self._lock:
            traces = {key: list(records) for key, records in self._traces.items()}
        wanted = [key for key, records in traces.items() if trace in (key, *(record.name for record in records))]
        # The list grows while it is walked: a task of a linked trace may send the next.
        for known in wanted:
            wanted += [key for key, records in traces.items() if key not in wanted and _goes_on(records, known)]
        return [record for key in wanted for record in traces[key]]

    def wait(self, steps: Sequence[Step], seconds: float) -> list[str]:
        """Wait until the spans of all steps are here and no more come.

        Returns:
            What is still missing after that time, in words.
        """
        until = time.monotonic() + seconds
        while (lacking := self._lacking(steps)) and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
        # What was not waited for, such as the main process of the worker, may come a moment later.
        while time.monotonic() - self._last < _QUIET_SECONDS and time.monotonic() < until:
            time.sleep(_LOOK_SECONDS)
        return lacking

    def _lacking(self, steps: Sequence[Step]) -> list[str]:
        return [text for step in steps for text in missing(step, self.story(step.trace_id))]


def _goes_on(records: Iterable[SpanRecord], trace_id: str) -> bool:
    kinds = ("CONSUMER", "SERVER")  # a run of a task, a websocket's message
    return any(link[0] == trace_id for record in records if record.kind in kinds for link in record.links)


def missing(step: Step, records: Sequence[SpanRecord]) -> Iterator[str]:
    """What the spans of a step lack.

    Args:
        step: the request.
        records: what arrived of its trace.
    """
    if not step.trace_id:
        yield f"{step.method} {step.path}: the site did not trace it"
        return
    served_by = LIVE if step.is_live else WEB
    if not _find(records, "SERVER", served_by, step.method):
        yield f"{step.method} {step.path}: the request's span from {served_by}"
    if (step.method, step.path) == FORM and step.story is None:
        yield from _missing_task(records, _INVOICE, WEB)
        yield from _missing_task(records, _WAREHOUSE, WORKER)
        yield from _missing_clew(records)
    if step.mistake is not None:
        yield from _missing_runs(records, step)
    # A tree with a hole in it is no proof of one trace.
    here = {(record.trace_id, record.span_id) for record in records}
    lost = sum(bool(r.parent_span_id) and (r.trace_id, r.parent_span_id) not in here for r in records)
    if step.method == "websocket" and not any(record.name.startswith("websocket.receive ") for record in records):
        yield f"{step.method} {step.path}: the span of its message"
    if lost > 0:
        yield f"{step.method} {step.path}: the parents of {lost} of its spans"


def _missing_clew(records: Sequence[SpanRecord]) -> Iterator[str]:
    # The stock instrumentations alone make a trace that looks much the same.
    ours = {record.service for record in records if record.scope.startswith("clew.")}
    for service in (WEB, WORKER):
        if service not in ours:
            yield f"clew's own spans from {service}: is it switched off there?"


def _missing_task(records: Sequence[SpanRecord], task: str, sender: str) -> Iterator[str]:
    publish = _find(records, "PRODUCER", sender, task)
    run = _find(records, "CONSUMER", WORKER, task)
    if publish is None:
        yield f"the publish of {task} from {sender}"
    if run is None:
        yield f"the run of {task} from {WORKER}"
    if publish and run and not _joins(run, publish):
        yield f"the thread from the publish of {task} to its run: neither its parent nor linked"


def _missing_runs(records: Sequence[SpanRecord], step: Step) -> Iterator[str]:
    runs = [record for record in records if record.kind == "CONSUMER"]
    for publish in (record for record in records if record.kind == "PRODUCER"):
        if not any(_joins(run, publish) for run in runs):
            yield f"{step.method} {step.path}: the run of {publish.name.partition('/')[2]}"


def findings(records: Iterable[SpanRecord], kind: str) -> list[dict[str, Any]]:
    """What clew found of one kind: the attributes of each event, what was seen first first."""
    events = [event for record in records for event in record.events if event[0] == f"clew.finding.{kind}"]
    events.sort(key=lambda event: event[1])
    return [attributes for _, _, attributes in events]


def _find(records: Iterable[SpanRecord], kind: str, service: str, text: str) -> SpanRecord | None:
    return next((r for r in records if r.kind == kind and r.service == service and text in r.name), None)


def _joins(run: SpanRecord, publish: SpanRecord) -> bool:
    target = (publish.trace_id, publish.span_id)
    return target in {(run.trace_id, run.parent_span_id), *(link[:2] for link in run.links)}
