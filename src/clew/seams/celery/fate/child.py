"""How a child of the prefork pool ended: as its parent sees it, and as the child itself knows that it is dying.

Celery's SIGTERM (hard time limit, `revoke(terminate=True)`, cold shutdown) raises SystemExit in the task: some children
live long enough to report a failed run, others do not. So that there is one span either way, a dying child leaves its
run to the main process; and a child whose run is over leaves a mark, should it be killed before it can report.
"""

from __future__ import annotations

import re
import signal
import sys
from contextlib import suppress
from time import time_ns
from typing import Any

from opentelemetry.trace import NonRecordingSpan

from clew import attributes as names
from clew.seams.celery.fate import marks as fate_marks
from clew.seams.celery.fate.span import Fate, sentence
from clew.seams.celery.message.attributes import Attributes
from clew.seams.celery.message.headers import ids_of
from clew.spans.scope import SdkSpan
from clew.story.local_trace import LocalTrace

_STATUS = re.compile(r"\b(signal|exitcode) (-?\d+)")
_COLD = "the worker stopped without waiting for its tasks (cold shutdown)"


def fate_of(request: Any, error: BaseException) -> Fate | None:
    """What the pool's error says of a running task.

    Args:
        request: the worker's `Request`.
        error: what the pool hands to `Request.on_failure`.

    Returns:
        Its fate; None where the error came out of the child, which has reported it.
    """
    from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError

    more: Attributes = {names.CELERY_CHILD_PID: request.worker_pid} if request.worker_pid else {}
    if isinstance(error, TimeLimitExceeded):
        limit = error.args[0] if error.args else "?"
        reason, outcome = f"hard time limit of {limit} s exceeded", "timed_out"
    elif isinstance(error, WorkerLostError):
        more.update(_ended(str(error)))
        more.update(_exhausted(request))
        reason, outcome = sentence(error, "the child died"), "lost"
    elif isinstance(error, Terminated):
        more.update(_signal(error.args[0] if error.args else None))
        if request._already_cancelled:
            return _cancelled(request, error, more)
        reason, outcome = "revoked while it ran (terminate)", "terminated"
    else:
        return None
    return Fate(outcome, reason, error, request.time_start, more)


def _cancelled(request: Any, error: BaseException, more: Attributes) -> Fate:
    """Celery kills tasks itself: those it can no longer acknowledge, and all of them at a cold shutdown."""
    more[names.CELERY_STATE] = "RETRY"
    if request.acknowledged:
        reason = "cancelled by Celery after its message was acknowledged: it will not run again"
        return Fate("lost", reason, error, request.time_start, more)
    return Fate("cancelled", "cancelled by Celery, to be redelivered", error, request.time_start, more)


def cold_shutdown_of(request: Any) -> Fate:
    """The fate of a task that ran when its worker was stopped."""
    more: Attributes = {names.CELERY_CHILD_PID: request.worker_pid, names.CELERY_STATE: None}
    if request.task.acks_late and not request.acknowledged:
        return Fate("cancelled", f"{_COLD}, to be redelivered", None, request.time_start, more)
    return Fate("lost", _COLD, None, request.time_start, more)


def _exhausted(request: Any) -> Attributes:
    """`retry_on_worker_lost` (Celery 5.7), and this was the last of the retries."""
    task, most = request.task, request.task.max_retries
    is_last = getattr(task, "retry_on_worker_lost", False) and most is not None and request._context.retries >= most
    return {names.CELERY_RETRIES_EXHAUSTED: True} if is_last else {}


def ended_before(request: Any, fate: Fate) -> fate_marks.Ended | None:
    """Whether its run was over when the child died, which is then said in its fate; None: it was not, or who knows."""
    if fate.started is None:
        return None
    over = fate_marks.ended(request.worker_pid or 0, ids_of(request._context)[1])
    if over is not None:
        fate.reason = f"its run was over, but not reported: {fate.reason}"
        fate.more[names.CELERY_RUN_OUTCOME] = over.outcome or None
    return over


def _ended(text: str) -> Attributes:
    found = _STATUS.search(text)
    if found is None:
        return {}
    return _signal(int(found[2])) if found[1] == "signal" else {names.CELERY_CHILD_EXIT_CODE: int(found[2])}


def _signal(number: Any) -> Attributes:
    # billiard negates a status that a child killed at once does not have: its handler leaves with the signal's number.
    with suppress(ValueError, TypeError):
        return {names.CELERY_CHILD_SIGNAL: signal.Signals(abs(int(number))).name}
    return {}


def is_dying() -> bool:
    """Whether this process is unwinding from the signal its parent, or anybody, has sent to end it."""
    common = sys.modules.get("billiard.common")
    flag = getattr(common, "_should_have_exited", None)
    return bool(flag and flag[0]) and isinstance(sys.exc_info()[1], SystemExit)


def leave_mark(local: LocalTrace, request: Any, outcome: str) -> None:
    """Say where the main process will see it that a run is over, and how.

    Args:
        local: of the run.
        request: Celery's `Context` of it.
        outcome: a value of `celery.outcome`; "" if it is not known.
    """
    root = local.root
    span_id = ids_of(request)[1] if isinstance(root, SdkSpan) else root.span.get_span_context().span_id
    fate_marks.mark(span_id, outcome, time_ns())


def at_end_of_run(local: LocalTrace, request: Any) -> None:
    """Before the end of a run: leave a mark, or take its span back if the process is dying.

    Args:
        local: of the run.
        request: Celery's `Context` of it.
    """
    root = local.root
    if not is_dying():
        leave_mark(local, request, "" if local.task_end is None else local.task_end[0])
    elif isinstance(root, SdkSpan):
        # One of the SDK's cannot be taken back, but one that never ends is never exported.
        root.span = NonRecordingSpan(root.span.get_span_context())
    else:
        root.discard()
