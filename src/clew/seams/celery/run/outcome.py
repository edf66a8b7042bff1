"""How a run has ended, as its span says it: outcome, status, the exception event, and what a retry will do.

Only what nobody asked for is an ERROR: a retry, an Ignore, a Reject or one of the task's `throws` says what it is, and
why.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import Status, StatusCode

from clew import attributes as names
from clew.engine.redaction.exception_event import error_description, exception_attributes, message_of, type_name
from clew.seams.celery.message.attempts import retries_of
from clew.spans import scope as spans
from clew.story.task_run import TaskRun

_ERRORS = ("failed", "soft_timed_out")
_MAX_CAUSES = 20
# What `Task.on_replace` raises, in every version.
_REPLACED = "Replaced by new task"


def outcome_of(task: Any, error: BaseException | None) -> str:
    """The value of `celery.outcome`, of those a run can have."""
    if error is None:
        return "succeeded"
    from celery.exceptions import Ignore, Reject, Retry, SoftTimeLimitExceeded

    if isinstance(error, Ignore):
        return "replaced" if error.args[:1] == (_REPLACED,) else "ignored"
    for kind, outcome in ((Retry, "retried"), (Reject, "rejected")):
        if isinstance(error, kind):
            return outcome
    throws = task.throws
    if throws and isinstance(error, throws):
        return "expected_failure"
    return "soft_timed_out" if isinstance(error, SoftTimeLimitExceeded) else "failed"


def own_error(raised: BaseException) -> BaseException:
    """The task's own exception, where Celery's dealing with it has raised another: it left the task through that frame.

    An error callback, `on_failure` or a result backend that raises (in Celery, where `task_postrun` has no state).
    """
    leaving = raised.__traceback__
    frame, found, seen = leaving.tb_frame if leaving is not None else None, raised, raised
    for _ in range(_MAX_CAUSES):
        if (above := seen.__context__) is None:
            break
        seen = above
        if frame is not None and seen.__traceback__ is not None and seen.__traceback__.tb_frame is frame:
            found = seen
    return found


def describe(root: spans.OpenSpan, run: TaskRun, state: str | None) -> None:
    """Note on the run's span how it has ended.

    Args:
        root: the span, recording.
        run: the run, with its outcome and error.
        state: Celery's; None where an exception is on its way through Celery itself.
    """
    outcome, error = run.outcome, run.error
    root.note(names.CELERY_OUTCOME, outcome)
    if state is not None:
        root.note(names.CELERY_STATE, state)
    if retries_of(run.request) or outcome == "retried":
        _note_retries(root, run)
    if error is None:
        return
    recorded: Any = error
    if outcome in _ERRORS:
        root.note(names.ERROR_TYPE, type_name(error))
        root.span.set_status(Status(StatusCode.ERROR, error_description(error)))
    elif outcome == "retried":
        root.note(names.CELERY_RETRY_REASON, message_of(error))
        within = getattr(error, "exc", None)
        recorded = error if within is None else within
    elif outcome in ("ignored", "replaced", "rejected"):
        recorded = getattr(error, "reason", None)
        if outcome == "rejected":
            root.note(names.CELERY_REQUEUE, bool(getattr(error, "requeue", False)))
    if isinstance(recorded, BaseException):
        root.span.add_event("exception", exception_attributes(recorded))


def _note_retries(root: spans.OpenSpan, run: TaskRun) -> None:
    held = vars(run.task)
    limit = held.get("override_max_retries", run.task.max_retries)
    if isinstance(limit, int):
        root.note(names.CELERY_MAX_RETRIES, limit)
        if run.outcome in _ERRORS and retries_of(run.request) >= limit:
            root.note(names.CELERY_RETRIES_EXHAUSTED, value=True)
    when = getattr(run.error, "when", None)
    if isinstance(when, (int, float)):
        root.note(names.CELERY_RETRY_DELAY_MS, round(when * 1000))
