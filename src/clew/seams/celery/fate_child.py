"""How a child of the prefork pool ended: as its parent sees it, and as the child itself knows that it is dying.

Celery's SIGTERM (hard time limit, `revoke(terminate=True)`, cold shutdown) raises SystemExit in the task: some children
live long enough to report a failed run, others do not. So that there is one span either way, a dying child leaves its
run to the main process.
"""

from __future__ import annotations

import re
import signal
import sys
from contextlib import suppress
from typing import Any

from opentelemetry.trace import NonRecordingSpan

from clew import attributes as names
from clew.core.local_trace import LocalTrace
from clew.core.spans import SdkSpan
from clew.seams.celery.fate_span import Fate, sentence
from clew.seams.celery.messaging import Attributes

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
    return Fate("lost", _COLD, None, request.time_start, {names.CELERY_CHILD_PID: request.worker_pid})


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


def leave_to_main_process(local: LocalTrace) -> None:
    """Before the end of a run: take its span back if the process is dying."""
    if not is_dying():
        return
    root = local.root
    if isinstance(root, SdkSpan):
        # One of the SDK's cannot be taken back, but one that never ends is never exported.
        root.span = NonRecordingSpan(root.span.get_span_context())
    else:
        root.discard()
