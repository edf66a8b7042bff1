"""The span of a fate: from what the worker's main process holds of a task to one ended CONSUMER span.

Named and parented as the run span it stands for, and with that span's id where the child was told one: what a killed
child had exported below its run then has its parent. Its times are those the main process knows. What Celery sends on
behalf of a dead task (error callbacks, a chord's body, a retry) is below it.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, field
from time import time_ns
from typing import Any

from opentelemetry.context import attach, detach
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
    set_span_in_context,
)

from clew import attributes as names
from clew.engine.metric import is_metered
from clew.engine.redaction.exception_event import message_of, type_name
from clew.engine.series import OTHER
from clew.seams.celery.fate.marks import Ended
from clew.seams.celery.message import metrics
from clew.seams.celery.message.attempts import Origin, attempting, origin_of
from clew.seams.celery.message.attributes import Attributes, run_attributes
from clew.seams.celery.message.headers import ids_of
from clew.seams.celery.message.values import text_of
from clew.spans import scope as spans
from clew.spans.pipeline import Pipeline
from clew.story.local_root import LocalRoot

SCOPE = "clew.seams.celery.fate"
_MAX_REASON = 500
# What a child has ended so long ago it has exported, more likely than not.
_EXPORTED_NS = 2_500_000_000
_NOT_REGISTERED = "celery.exceptions.NotRegistered"


@dataclass(frozen=True)
class Kind:
    """One value of `celery.outcome`.

    Args:
        verb: of the span's name.
        state: Celery's, as `celery.state` says it; None where Celery stores none.
        is_error: False where somebody has asked for it.
    """

    verb: str
    state: str | None = None
    is_error: bool = False


KINDS = {
    "timed_out": Kind("lost", "FAILURE", is_error=True),
    "lost": Kind("lost", "FAILURE", is_error=True),
    "succeeded": Kind("lost", "SUCCESS"),
    "cancelled": Kind("lost", "RETRY"),
    "terminated": Kind("revoked", "REVOKED"),
    "revoked": Kind("revoked", "REVOKED"),
    "expired": Kind("expired", "REVOKED"),
    "unknown": Kind("unknown", "FAILURE", is_error=True),
    "rejected": Kind("rejected", is_error=True),
    "undecodable": Kind("rejected", is_error=True),
}


@dataclass
class Fate:
    """What became of a task.

    Args:
        outcome: a key of `KINDS`.
        reason: in one sentence.
        error: what Celery made of it.
        started: when the child accepted the task, in seconds since the epoch; None: it did not start.
        more: further attributes.
    """

    outcome: str
    reason: str
    error: BaseException | None = None
    started: float | None = None
    more: Attributes = field(default_factory=dict)


class Unregistered:
    """Stands for a task this worker does not have, or whose name a message does not say."""

    run = None

    def __init__(self, name: str, app: Any) -> None:
        self.name, self.app = name, app


class FateReport:
    """A fate that is being told: Celery deals with it below its span, which ends at its own time.

    Args:
        request: Celery's `Context` of the task.
        origin: where its run comes from.
        root: its span; None where it has been told, or where the child has told it.
        above: the span that is current meanwhile.
        fate: what became of it; what Celery does then is noted on it. None when its span has ended.
    """

    def __init__(self, request: Any, origin: Origin, root: Any, above: Any, fate: Fate | None = None) -> None:
        self._request, self.origin, self._root, self.above = request, origin, root, above
        self.fate = fate
        self.ended_ns = time_ns()
        # Its task, and the attributes of broker and queue, for the metric.
        self.counted_as: tuple[str, Attributes] | None = None
        self._inside = ExitStack()

    def repeated(self) -> FateReport:
        """A report of the same task below a span that this code does not end."""
        return FateReport(self._request, self.origin, None, self.above)

    def enter(self) -> FateReport:
        """Make the span current, so that what Celery does for the task is below it."""
        self._inside.callback(detach, attach(set_span_in_context(self.above, self.origin.context)))
        if self._root is not None:
            where = {names.CELERY_TASK_NAME: text_of(vars(self._request).get("task"))}
            self._inside.callback(LocalRoot(self._root, where).leave)
        self._inside.enter_context(attempting(self._request, self.origin.first, self.above))
        return self

    def close(self, _: BaseException | None = None) -> None:
        """Close the span when Celery has dealt with the task."""
        self._inside.close()
        self.end()

    def end(self) -> None:
        """End its span, at `ended_ns`."""
        root, fate = self._root, self.fate
        # Its error's traceback leads to the request, which must not be kept for being told.
        self._root = self.fate = None
        if root is None or fate is None:
            return
        root.span.set_attributes(_ending(fate))
        if KINDS[fate.outcome].is_error:
            root.span.set_status(Status(StatusCode.ERROR, fate.reason))
        root.span.end(self.ended_ns)
        if self.counted_as is not None:
            metrics.count_outcome(self.counted_as[0], fate.outcome, self.counted_as[1])


def open_report(task: Any, request: Any, fate: Fate, over: Ended | None = None) -> FateReport | None:
    """Open the span of a task's fate.

    Args:
        task: the task, or `Unregistered`.
        request: Celery's `Context` of it.
        fate: what became of it.
        over: its run, if that was over when the child died.

    Returns:
        What ends the span; None where nothing is traced.
    """
    pipeline = spans.pipeline()
    if pipeline is None or spans.is_suppressed():
        return None
    if over is not None and time_ns() - over.ended_ns >= _EXPORTED_NS:
        return _after_run(task, request, fate, over)
    attributes = _attributes(task, request, fate)
    origin, ids = origin_of(request, attributes), ids_of(request)
    name, kind = f"{KINDS[fate.outcome].verb}/{task.name}", SpanKind.CONSUMER
    start_ns = None if fate.started is None else int(fate.started * 1e9)
    root = spans.start_root(
        *(pipeline, SCOPE, name, kind, origin.context, attributes, origin.links, start_ns, ids),
        is_own_trace=origin.is_own_trace,
    )
    if root is None:
        return None
    found = FateReport(request, origin, root, root.span, fate)
    if is_metered():
        found.counted_as = OTHER if isinstance(task, Unregistered) else str(task.name), dict(attributes)
    return found


def below_run(request: Any) -> FateReport | None:
    """Below the run's span, of which the child tells.

    Args:
        request: Celery's `Context` of the task.

    Returns:
        What makes it current; None where the run's span is not known.
    """
    pipeline, (own_trace_id, span_id) = spans.pipeline(), ids_of(request)
    if pipeline is None or not span_id or not pipeline.allows_light_roots:
        return None
    origin = origin_of(request, {})
    above = get_current_span(origin.context).get_span_context()
    if not above.is_valid:
        return _below_root(request, origin, pipeline)
    trace_id = own_trace_id if origin.is_own_trace else above.trace_id
    run = SpanContext(trace_id, span_id, True, above.trace_flags, above.trace_state)
    return FateReport(request, origin, None, NonRecordingSpan(run))


def _below_root(request: Any, origin: Origin, pipeline: Pipeline) -> FateReport:
    """The run is the first span of its trace: the sampler decides here as it does in the child."""
    trace_id, span_id = ids_of(request)
    decided = pipeline.provider.sampler.should_sample(
        origin.context, trace_id, f"run/{request.task}", SpanKind.CONSUMER
    )
    flags = TraceFlags(TraceFlags.SAMPLED if decided.decision.is_sampled() else TraceFlags.DEFAULT)
    return FateReport(request, origin, None, NonRecordingSpan(SpanContext(trace_id, span_id, True, flags)))


def _after_run(task: Any, request: Any, fate: Fate, over: Ended) -> FateReport | None:
    """The child had the time to export the run: it is told below it what came then, and there is no second CONSUMER."""
    run, pipeline = below_run(request), spans.pipeline()
    if run is None or pipeline is None:
        return None
    name, context = f"{KINDS[fate.outcome].verb}/{task.name}", set_span_in_context(run.above, run.origin.context)
    attributes = _attributes(task, request, fate)
    root = spans.start_root(pipeline, SCOPE, name, SpanKind.INTERNAL, context, attributes, (), over.ended_ns)
    return None if root is None else FateReport(request, run.origin, root, root.span, fate)


def _attributes(task: Any, request: Any, fate: Fate) -> Attributes:
    found = run_attributes(task, request)
    if isinstance(task, Unregistered):
        for key in names.CODE:
            found.pop(key, None)
    found[names.CELERY_ACTION] = found[names.MESSAGING_OPERATION_NAME] = KINDS[fate.outcome].verb
    found[names.CELERY_OUTCOME] = fate.outcome
    found[names.CELERY_FATE_REASON] = fate.reason
    return found


def _ending(fate: Fate) -> Attributes:
    """What is known for certain only when Celery has dealt with it."""
    kind = KINDS[fate.outcome]
    found: Attributes = {names.CELERY_OUTCOME: fate.outcome, names.CELERY_FATE_REASON: fate.reason}
    if kind.state is not None:
        found[names.CELERY_STATE] = kind.state
    if kind.is_error:
        found[names.ERROR_TYPE] = _NOT_REGISTERED if fate.outcome == "unknown" else _error_type(fate)
    return {key: value for key, value in {**found, **fate.more}.items() if value is not None}


def _error_type(fate: Fate) -> str:
    return fate.outcome if fate.error is None else type_name(fate.error)


def sentence(error: BaseException | None, otherwise: str) -> str:
    """An error's message, redacted, on one line of bounded length."""
    text = " ".join(message_of(error).split()) if error is not None else ""
    return (text or otherwise)[:_MAX_REASON]
