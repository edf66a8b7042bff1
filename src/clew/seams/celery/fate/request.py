"""What becomes of a request the worker's main process holds: where Celery deals with its end, and what it does then.

Every one of these calls may send messages on behalf of the dead task (its error callbacks, a chord's body, a retry), so
the span of the fate is open and current around it, and ends at the moment of the fate. Celery may call several of them
for one task (`on_failure`, then `on_timeout`): the span is told once, and what is sent later is below it as well.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from time import monotonic, time_ns
from typing import Any
from weakref import WeakKeyDictionary, WeakSet

from clew import attributes as names
from clew.engine import isolation
from clew.engine.wrapper import Around
from clew.seams.celery.fate.child import cold_shutdown_of, ended_before, fate_of
from clew.seams.celery.fate.span import Fate, FateReport, below_run, open_report
from clew.seams.celery.message.headers import RECEIVED

_MAX_BATCH = 1000
Find = Callable[..., "FateReport | None"]


class State:
    """Requests of which this process has told, and those Celery has cancelled without storing a result."""

    reported: WeakKeyDictionary[Any, FateReport] = WeakKeyDictionary()
    cancelled_silently: WeakSet[Any] = WeakSet()


def below(find: Find) -> Around:
    """Do what Celery does below the span that `find` opens or names for the call's arguments."""

    @functools.wraps(find)
    def entered(*args: Any, **kwargs: Any) -> FateReport | None:
        report = find(*args, **kwargs)
        return report.enter() if report is not None else None

    return Around(entered)


def failing(request: Any, /, exc_info: Any, *, return_ok: bool = False) -> FateReport | None:
    """`Request.on_failure`: the child has reported an error, or the pool has killed or lost the child."""
    from celery.exceptions import Reject

    error = _error_of(exc_info)
    if return_ok:
        # Celery 5.7 marks a task that rejects its message as failed, here and not in the child.
        does_fail = isinstance(error, Reject) and not getattr(error, "requeue", False)
        return below_run(request._context) if does_fail else None
    if request in State.reported:
        return State.reported[request].repeated()
    fate = fate_of(request, error)
    return below_run(request._context) if fate is None else _reported(request, fate)


def _error_of(exc_info: Any) -> BaseException:
    error: BaseException = exc_info.exception
    return error.exc if isinstance(error, sys.modules["billiard.einfo"].ExceptionWithTraceback) else error


def timing_out(request: Any, /, timeout: Any, *, soft: bool) -> FateReport | None:
    """`Request.on_timeout`: the pool kills the child, or has reported so already."""
    from billiard.exceptions import TimeLimitExceeded

    if soft:
        return None
    if request in State.reported:
        return State.reported[request].repeated()
    fate = fate_of(request, TimeLimitExceeded(timeout)) if request.worker_pid != os.getpid() else None
    return below_run(request._context) if fate is None else _reported(request, fate)


def revoking(request: Any, /, *, terminated: bool, expired: bool) -> FateReport | None:
    """`Request._announce_revoked`: a task is not started; or the child at it is being killed, and dies later."""
    if request in State.reported:
        return State.reported[request].repeated()
    if terminated:
        return below_run(request._context)
    if expired:
        return _reported(request, Fate("expired", f"not started before it expired, at {request._context.expires}"))
    return _reported(request, Fate("revoked", _why_revoked(request)))


def _why_revoked(request: Any) -> str:
    when = "while it waited in the worker" if RECEIVED in request.request_dict else "before it started"
    if request.id in sys.modules["celery.worker.state"].revoked:
        return f"revoked {when}"
    return f"revoked by a stamped header {when}"


def cancelling(request: Any, /, *, emit_retry: bool = True) -> FateReport | None:
    """`Request._announce_cancelled`: Celery is killing the child itself."""
    if not emit_retry:
        State.cancelled_silently.add(request)
    return below_run(request._context)


def rejecting(request: Any, /, *, requeue: bool = False) -> FateReport | None:
    """`Request.reject`: its message goes back, or is thrown away."""
    report = State.reported.get(request)
    if report is not None and report.fate is not None:
        if requeue and not request.acknowledged:
            report.fate.more.update({names.CELERY_FATE_NEXT: "requeued", names.CELERY_STATE: None})
    elif report is None and not requeue and request.time_start is None and request.eta is not None:
        return _reported(request, Fate("rejected", "its ETA is no time a worker can wait for"))
    return None


def retried(request: Any, /, result: Any) -> None:
    """`Request._retry_worker_lost` (Celery 5.7)."""
    report = State.reported.get(request)
    if result and report is not None and report.fate is not None:
        report.fate.more.update({names.CELERY_FATE_NEXT: "retried", names.CELERY_STATE: "RETRY"})


def succeeded(request: Any, /, result: Any) -> None:
    """`Request._success_was_stored` (Celery 5.7): it was over when the child died, and Celery counts it so."""
    report = State.reported.get(request)
    if result and report is not None and report.fate is not None:
        report.fate.outcome, report.fate.reason = "succeeded", f"its result was stored, then: {report.fate.reason}"


def report_fate(request: Any, fate: Fate) -> None:
    """Make the span of a request that no method of Celery's ends; once for each request."""
    report = None if request in State.reported else _reported(request, fate)
    if report is not None:
        report.end()


def watch_batch(requests: Any, result: Any) -> None:
    """`Batches.flush` (celery-batches): nobody hears when the child at a batch dies."""
    if getattr(result, "_error_callback", result) is None:
        result._error_callback = functools.partial(_batch_lost, list(requests)[:_MAX_BATCH])


def _batch_lost(requests: list[Any], exc_info: Any) -> None:
    try:
        for request in requests:
            if (fate := fate_of(request, _error_of(exc_info))) is not None:
                report_fate(request, fate)
    except Exception as ours:  # noqa: BLE001 - ours must not reach the pool
        isolation.report(ours, "clew.seams.celery.fate")


def _reported(request: Any, fate: Fate) -> FateReport | None:
    over = ended_before(request, fate)
    if request in State.cancelled_silently:
        fate.more[names.CELERY_STATE] = None
    report = open_report(request.task, request._context, fate, over)
    if report is not None:
        report.ended_ns = _died_ns(request)
        State.reported[request] = report
    return report


def _died_ns(request: Any) -> int:
    """Now, or when the pool saw the child gone: without an event loop it waits for a late report, 10 s by default."""
    job = _job(request)
    lost = job._worker_lost if job is not None else None
    return time_ns() - (int((monotonic() - lost[0]) * 1e9) if lost else 0)


def _job(request: Any) -> Any:
    """The pool's, of a request; None where it has none."""
    return request._apply_result and request._apply_result()


def running() -> list[tuple[Any, Any]]:
    """Before a cold shutdown, which asks nobody: requests the children are at, each with the pool's job."""
    requests = list(sys.modules["celery.worker.state"].active_requests)
    return [(request, job) for request in requests if (job := _job(request)) is not None]


def report_unfinished(opened: list[tuple[Any, Any]]) -> None:
    """After the shutdown, make spans for the tasks that the children have not finished."""
    for request, job in opened:
        if not job.ready():
            report_fate(request, cold_shutdown_of(request))
