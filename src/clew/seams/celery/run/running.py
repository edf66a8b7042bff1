"""A run in progress: its span, what has to be put back when it is over, and how its end is told.

Kept between `task_prerun` and `task_postrun` by the seam `run`.
"""

from __future__ import annotations

import sys
from contextvars import Token
from time import perf_counter, time_ns
from typing import Any

from opentelemetry.trace import SpanContext

from clew import attributes as names
from clew.engine import isolation
from clew.engine.metric import is_metered
from clew.engine.redaction.exception_event import exception_attributes, type_name
from clew.seams.celery import contrib
from clew.seams.celery.message import attempts, fan_out, metrics
from clew.seams.celery.message.waiting import Waited
from clew.seams.celery.run.batch import Batch
from clew.seams.celery.run.outcome import describe, outcome_of, own_error
from clew.spans import scope as spans
from clew.spans.local_spans import LocalSpans
from clew.story import local_trace
from clew.story.detector import watchers
from clew.story.local_trace import LocalTrace
from clew.story.task_run import TaskRun

SCOPE = "clew.seams.celery.run"


class RunningTask:
    """One run: its span, and what has to be put back when it is over.

    Args:
        task, request: Celery's.
        root: the span, current.
        max_spans: clew's spans below it.
    """

    __slots__ = (
        "_attempt",
        "_first",
        "_handled",
        "_is_metered",
        "_known",
        "_local",
        "_root",
        "_started",
        "_token",
        "_waits_ms",
        "batch",
        "raised",
        "run",
    )

    def __init__(self, task: Any, request: Any, root: spans.OpenSpan, max_spans: int) -> None:
        self._root = root
        self._local = LocalTrace(root, max_spans)
        self._local.where = {names.CELERY_TASK_NAME: str(task.name)}
        self.run = TaskRun(self._local, task, request)
        self._token: Token[LocalSpans | None] = local_trace.enter(self._local)
        # An eager run inside an `except`: that exception is on its way, but not from the task.
        self._handled = sys.exc_info()[1]
        self._started = perf_counter()
        self._attempt: Any = None
        self._is_metered = True
        self._first: SpanContext | None = None
        self._waits_ms: dict[str, float] = {}
        # Attributes of the broker and the queue, for the metrics.
        self._known: dict[str, Any] = {}
        # Its messages where it has many, and what it raised.
        self.batch: Batch | None = None
        self.raised: BaseException | None = None

    def begin(self, waited: Waited, attributes: dict[str, Any], origin: attempts.Origin) -> None:
        """It has begun: its times, and whose next attempt a retry is.

        Args:
            waited: how long it waited.
            attributes: of its span.
            origin: where it comes from.
        """
        run = self.run
        run.published_ns, run.eta_ns, run.received_ns, run.started_ns, self._waits_ms = waited
        run.system = attributes.get(names.MESSAGING_SYSTEM, "")
        self._first = origin.first
        self._attempt = attempts.enter(run.request, origin.first, self._root.span)
        if origin.is_member:
            fan_out.join(self._local)
        self._is_metered = is_metered()
        if self._is_metered:
            self._known = dict(attributes)

    def note_published_in(self, aliases: str) -> None:
        """Its message was sent before the transaction that may have written what it is about was committed."""
        self._local.published_in = aliases
        self._root.note(names.CELERY_PUBLISHED_IN_TRANSACTION, aliases)

    def end(self, state: str | None, retval: Any) -> None:
        """The run is over: say how, end the span, put back what was current before."""
        elapsed, run = perf_counter() - self._started, self.run
        run.ended_ns = time_ns()
        error = run.error = self._error(state, retval)
        try:
            run.outcome = outcome_of(run.task, error)
            run.result = None if error is not None else retval
            self._local.task_end = (run.outcome, error)
            if self._root.span.is_recording():
                describe(self._root, run, state)
                self._note_handling_error(error)
            if run.outcome == "retried" and run.is_eager:
                attempts.pass_to_next(run.request, self._first, self._root.span)
            for on_task_end in watchers.on_task_end:
                on_task_end(run)
            self._local.finish()
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, SCOPE)
        finally:
            self._local.task_end = None
            attempts.leave(self._attempt)
            local_trace.leave(self._token)
            self._root.close()
        outer = local_trace.current()
        if outer is not None and error is not None:
            outer.error_id = id(error)
        # contrib may have been given a meter provider of its own.
        if self._is_metered or contrib.State.histogram is not None:
            labels = {"task": run.task.name, "worker": run.request.hostname}
            contrib.record(elapsed, labels)
        if self._is_metered:
            metrics.ran(run, self._known, self._waits_ms)
        if self.batch is not None:
            self.batch.end_messages(run, self._root, self._known)

    def _error(self, state: str | None, retval: Any) -> BaseException | None:
        if state not in (None, "SUCCESS") and isinstance(retval, BaseException):
            return retval
        if state == "FAILURE" and self.raised is not None:
            return self.raised
        raised = sys.exc_info()[1]
        if raised is not None and (state is None or raised is not self._handled):
            return own_error(raised) if state is None else raised
        return None

    def _note_handling_error(self, error: BaseException | None) -> None:
        """Note the exception that handling the task's own has raised (an error callback, a result backend)."""
        raised = sys.exc_info()[1]
        if error is None or raised is None or raised is error or raised is self._handled:
            return
        self._root.note(names.CELERY_HANDLING_ERROR, type_name(raised))
        if self._local.error_id != id(raised):
            self._root.span.add_event("exception", exception_attributes(raised))
