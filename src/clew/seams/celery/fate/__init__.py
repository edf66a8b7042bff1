"""CONSUMER spans of tasks that never ran or whose child died: `lost/`, `revoked/`, `expired/`, `unknown/`, `rejected/`.

They come from the worker's main process, with the publish span as parent and link, as a run has. We stand where Celery
deals with such a task there, because it may send messages for it: at `Request.on_failure` and `on_timeout`, where the
pool reports a child it has killed or lost, at `Request._announce_revoked`, and at `Consumer.on_unknown_task`. A child
that is being terminated is not dead when that is announced; it is told by `on_failure`, which also knows that the child
has not reported the run itself. `task_rejected` and `Consumer.on_decode_error` tell of messages that are no task, and
for a cold shutdown, which asks nobody, we stand at the prefork pool's `on_terminate`.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from clew import attributes as names
from clew.engine.needs import attributes, functions
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.celery.fate import marks as fate_marks
from clew.seams.celery.fate import own_classes
from clew.seams.celery.fate import request as fate_request
from clew.seams.celery.fate.child import at_end_of_run, is_dying, leave_mark
from clew.seams.celery.fate.span import SCOPE, Fate, FateReport, Unregistered, open_report, sentence
from clew.seams.celery.message.values import mapping_of, text_of
from clew.seams.celery.receivers import Receivers
from clew.seams.celery.run.outcome import outcome_of
from clew.story import local_trace

_NAMELESS = "message"


class State:
    """Where the seam was installed: children of that process do not tell."""

    installed_in = 0


def _unknown(consumer: Any, /, message: Any) -> FateReport | None:
    headers = mapping_of(message.headers)
    # Protocol 1 has them in the body.
    about = headers if "task" in headers else mapping_of(message.payload)
    name = text_of(about.get("task"))
    fate = Fate("unknown", f"{name} is not registered with this worker")
    return open_report(Unregistered(name, consumer.app), _context(consumer, message, text_of(about.get("id"))), fate)


def _rejected(sender: Any, message: Any, exc: BaseException | None = None, **_: Any) -> None:
    from kombu.exceptions import ContentDisallowed

    outcome = "undecodable" if isinstance(exc, ContentDisallowed) else "rejected"
    report = _of_message(sender, message, Fate(outcome, sentence(exc, "not a message of a task"), exc))
    if report is not None:
        report.end()


def _undecodable(consumer: Any, /, message: Any, exc: BaseException) -> FateReport | None:
    return _of_message(consumer, message, Fate("undecodable", sentence(exc, "undecodable"), exc))


def _of_message(consumer: Any, message: Any, fate: Fate) -> FateReport | None:
    request = _context(consumer, message)
    name = vars(request).get("task")
    task = consumer.app.tasks.get(name) if isinstance(name, str) else None
    return open_report(task or Unregistered(text_of(name) or _NAMELESS, consumer.app), request, fate)


def _context(consumer: Any, message: Any, task_id: str | None = None) -> Any:
    """Celery's context of a message no `Request` was made of."""
    from celery.app.task import Context

    properties, delivery = mapping_of(message.properties), mapping_of(message.delivery_info)
    headers = dict(mapping_of(message.headers))
    headers.setdefault("id", task_id or properties.get("correlation_id"))
    info = {key: delivery.get(key) for key in ("exchange", "routing_key", "redelivered")}
    info["priority"] = properties.get("priority")
    return Context(
        headers,
        hostname=consumer.hostname,
        reply_to=properties.get("reply_to"),
        correlation_id=properties.get("correlation_id"),
        delivery_info=info,
    )


def _prerun(task: Any, **_: Any) -> None:
    """In a child: be asked before a run ends that the main process knows of."""
    if os.getpid() == State.installed_in:
        return
    local, request = local_trace.current(), task.request
    if local is not None and request is not None and not request.is_eager:
        local.at_end.append(lambda: at_end_of_run(local, request))


def _postrun(task: Any, state: str | None = None, retval: Any = None, **_: Any) -> None:
    """Its receivers come next, and belong to the run; should one of them kill the child, this is how the task ended."""
    if os.getpid() == State.installed_in:
        return
    local, request = local_trace.current(), task.request
    if local is not None and request is not None and not request.is_eager and not is_dying():
        error = retval if state != "SUCCESS" and isinstance(retval, BaseException) else None
        leave_mark(local, request, outcome_of(task, error))


def _install() -> None:
    State.installed_in = os.getpid()


def _uninstall() -> None:
    RECEIVERS.disconnect()
    fate_request.State.reported.clear()
    fate_request.State.cancelled_silently.clear()
    fate_marks.reset()
    own_classes.reset()
    State.installed_in = 0


_METHODS: dict[str, fate_request.Find] = {
    "on_failure": fate_request.failing,
    "on_timeout": fate_request.timing_out,
    "reject": fate_request.rejecting,
    "_announce_revoked": fate_request.revoking,
    "_announce_cancelled": fate_request.cancelling,
}


def _made(task: Any, result: Any) -> None:
    """A worker has made the class of a task's requests: an application's own may not call Celery's methods."""
    module = sys.modules.get("celery_batches")
    if module is not None and isinstance(task, module.Batches) and own_classes.is_new(module.Batches, "flush"):
        SEAM.patch_attribute(module.Batches, "flush", Around(note=fate_request.watch_batch))
    for owner, name, wrap in own_classes.methods_of(result, _METHODS):
        SEAM.patch_attribute(owner, name, wrap)


RECEIVERS = Receivers(SCOPE, task_rejected=_rejected, task_prerun=_prerun, task_postrun=_postrun)

_MESSAGE = (
    *(names.CELERY_ACTION, names.CELERY_TASK_NAME, names.CELERY_OUTCOME, names.CELERY_FATE_REASON),
    *names.CODE,
    *(names.MESSAGING_DESTINATION, names.CELERY_STATE, names.CELERY_RETRIES, names.CELERY_REDELIVERED),
    *(names.CELERY_HOSTNAME, names.CELERY_ORIGIN, names.CELERY_DELIVERY_INFO, names.CELERY_LINKED_TRACE_ID),
    *(names.CELERY_ETA, names.CELERY_EXPIRES, names.CELERY_TIMELIMIT, names.CELERY_REPLY_TO),
    *(names.CELERY_COMPRESSION, names.CELERY_ROOT_ID, names.CELERY_PARENT_ID, names.CELERY_GROUP_ID),
    *(names.CELERY_GROUP_INDEX, names.CELERY_MAPPED_TASK, names.CELERY_MAPPED_COUNT),
    *(names.CELERY_PREVIOUS_TRACE_ID, names.CELERY_PREVIOUS_SPAN_ID, names.CLEW_FAN_OUT_POSITION),
    *(names.CLEW_FAN_OUT_OWN_TRACE, names.MESSAGING_ROUTING_KEY, names.MESSAGING_CONVERSATION_ID),
    *(names.MESSAGING_CONTRIB_CONVERSATION_ID,),
    *(names.CELERY_LINKED_SPAN_ID, names.MESSAGING_SYSTEM, names.MESSAGING_OPERATION_NAME),
    *(names.MESSAGING_OPERATION_TYPE, names.MESSAGING_DESTINATION_NAME, names.MESSAGING_MESSAGE_ID),
    *(names.SERVER_ADDRESS, names.SERVER_PORT),
)
_CHILD = (
    *(names.CELERY_CHILD_PID, names.CELERY_CHILD_EXIT_CODE, names.CELERY_CHILD_SIGNAL, names.CELERY_RUN_OUTCOME),
    *(names.CELERY_FATE_NEXT, names.CELERY_RETRIES_EXHAUSTED),
)


def _doc(verb: str, where: str, *more: str) -> SpanDoc:
    return SpanDoc(f"{verb}/shop.tasks.send_invoice", "CONSUMER", where, (*_MESSAGE, *more))


SEAM = Seam(
    "celery.fate",
    patches=(
        *RECEIVERS.patches,
        *[
            Patch("celery.worker.request", f"Request.{name}", fate_request.below(find))
            for name, find in _METHODS.items()
        ],
        Patch("celery.worker.request", "create_request_cls", Around(note=_made), is_imported_by_name=True),
        Patch("celery.worker.request", "Request._retry_worker_lost", Around(note=fate_request.retried), since="5.7"),
        Patch("celery.worker.request", "Request._success_was_stored", Around(note=fate_request.succeeded), since="5.7"),
        Patch("celery.worker.consumer.consumer", "Consumer.on_unknown_task", fate_request.below(_unknown)),
        Patch("celery.worker.consumer.consumer", "Consumer.on_decode_error", fate_request.below(_undecodable)),
        # Before the first child is forked.
        Patch("celery.concurrency.prefork", "TaskPool.on_start", Around(fate_marks.share)),
        Patch(
            "celery.concurrency.prefork",
            "TaskPool.on_terminate",
            Around(fate_request.running, close=fate_request.report_unfinished),
        ),
    ),
    spans=(
        _doc(
            "lost",
            "a run whose child was killed (hard time limit, SIGKILL, out of memory, cold shutdown), from its start to "
            "the child's death",
            *_CHILD,
        ),
        _doc("revoked", "a revoked task; one that ran, from its start to the child's death", *_CHILD),
        _doc("expired", "a task that was not started before it expired; a point in time"),
        _doc("unknown", "a task this worker does not have; a point in time"),
        _doc("rejected", "a message that cannot be decoded or is no valid task; a point in time"),
    ),
    on_install=_install,
    on_uninstall=_uninstall,
    needs=(
        *attributes(
            "celery.worker.request",
            "Request",
            "_context",
            "_apply_result",
            "_already_cancelled",
            "worker_pid",
            "time_start",
        ),
        *functions("celery.worker.state", "active_requests", "revoked"),
        *functions("billiard.common", "_should_have_exited"),
        *functions("billiard.einfo", "ExceptionWithTraceback"),
        *attributes("billiard.pool", "ApplyResult", "_worker_lost", "_error_callback"),
    ),
)
