"""A run in progress: its span, what has to be put back when it is over, and how its end is told.

Kept between `task_prerun` and `task_postrun` by the seam `run`.
"""

from __future__ import annotations

import sys
from contextvars import Token
from time import perf_counter, time_ns
from typing import Any

from opentelemetry.trace import Status, StatusCode

from clew import attributes as names
from clew.core import isolation, local_trace, spans
from clew.core.detector import hub
from clew.core.exception_event import error_description, exception_attributes, message_of, type_name
from clew.core.local_trace import LocalTrace
from clew.core.task_run import TaskRun
from clew.core.transactions import PUBLISHED_HEADER, TASK_END
from clew.seams.celery import contrib

SCOPE = "clew.seams.celery.run"


class RunningTask:
    """One run: its span, and what has to be put back when it is over.

    Args:
        task, request: Celery's.
        root: the span, current.
        max_spans: clew's spans below it.
    """

    __slots__ = ("_handled", "_local", "_root", "_started", "_token", "run")

    def __init__(self, task: Any, request: Any, root: spans.OpenSpan, max_spans: int) -> None:
        self._root = root
        self._local = LocalTrace(root, max_spans)
        self._local.where = {names.CELERY_TASK_NAME: request.task or ""}
        self.run = TaskRun(self._local, task, request)
        self.run.started_ns = time_ns()
        self._token: Token[LocalTrace | None] = local_trace.enter(self._local)
        # An eager run inside an `except`: that exception is on its way, but not from the task.
        self._handled = sys.exc_info()[1]
        self._started = perf_counter()

    def note_published_in(self, aliases: str) -> None:
        """Its message was sent before the transaction that may have written what it is about was committed."""
        self._local.notes[PUBLISHED_HEADER] = aliases
        self._root.note(names.CELERY_PUBLISHED_IN_TRANSACTION, aliases)

    def end(self, state: str | None, retval: Any) -> None:
        """The run is over: say how, end the span, put back what was current before."""
        elapsed, run = perf_counter() - self._started, self.run
        error = run.error = self._error(state, retval)
        try:
            run.outcome, run.ended_ns = _outcome(run.task, error), time_ns()
            run.result = None if error is not None else retval
            self._local.notes[TASK_END] = (run.outcome, error)
            if self._root.span.is_recording():
                _describe(self._root, run, state)
            for on_task_end in hub.on_task_end:
                on_task_end(run)
            self._local.finish()
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, SCOPE)
        finally:
            self._local.notes.pop(TASK_END, None)
            local_trace.leave(self._token)
            self._root.close()
        outer = local_trace.current()
        if outer is not None and error is not None:
            outer.error_id = id(error)
        labels = {"task": run.task.name, "worker": run.request.hostname}
        contrib.histogram().record(elapsed, labels)

    def _error(self, state: str | None, retval: Any) -> BaseException | None:
        raised = sys.exc_info()[1]
        if raised is not None and (state is None or raised is not self._handled):
            return raised
        return retval if state not in (None, "SUCCESS") and isinstance(retval, BaseException) else None


def _outcome(task: Any, error: BaseException | None) -> str:
    if error is None:
        return "succeeded"
    from celery.exceptions import Ignore, Reject, Retry

    for kind, outcome in ((Retry, "retried"), (Ignore, "ignored"), (Reject, "rejected")):
        if isinstance(error, kind):
            return outcome
    throws = task.throws
    return "expected_failure" if throws and isinstance(error, throws) else "failed"


def _describe(root: spans.OpenSpan, run: TaskRun, state: str | None) -> None:
    outcome, error = run.outcome, run.error
    found = {names.CELERY_OUTCOME: outcome}
    if state is not None:
        found[names.CELERY_STATE] = state
    recorded = error
    if error is not None and outcome == "failed":
        found[names.ERROR_TYPE] = type_name(error)
        root.span.set_status(Status(StatusCode.ERROR, error_description(error)))
    elif error is not None and outcome == "retried":
        found[names.CELERY_RETRY_REASON] = message_of(error)
        recorded = getattr(error, "exc", None) or error
    elif outcome in ("ignored", "rejected"):
        recorded = getattr(error, "reason", None)
    for key, value in found.items():
        root.note(key, value)
    if isinstance(recorded, BaseException):
        root.span.add_event("exception", exception_attributes(recorded))
