"""CONSUMER spans of tasks that never ran or whose child died: `lost/`, `revoked/`, `expired/`, `unknown/`, `rejected/`.

They come from the worker's main process, with the publish span as parent and link, as a run has. We stand at
`task_revoked`, `task_unknown` and `task_rejected`, at `Consumer.on_decode_error`, which sends no signal, and at
`Request.on_failure`, where the pool reports a child it has killed or lost. `task_revoked` comes before a terminated
child is dead, so that one is told by `on_failure` too, which also knows that the child has not reported the run itself.
A cold shutdown asks nobody: for that we stand at the prefork pool's `on_terminate`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any
from weakref import WeakSet

from clew import attributes as names
from clew.core import isolation, local_trace
from clew.core.seam import Patch, Seam, SpanDoc, like
from clew.seams.celery.fate_child import cold_shutdown_of, fate_of, leave_to_main_process
from clew.seams.celery.fate_span import SCOPE, Fate, Unregistered, sentence, tell
from clew.seams.celery.receivers import Receivers

_NAMELESS = "message"


class State:
    """What this process has told, and where the seam was installed: children of that process do not tell."""

    told: WeakSet[Any] = WeakSet()
    installed_in = 0


def _revoked(sender: Any, request: Any, terminated: bool = False, expired: bool = False, **_: Any) -> None:
    if terminated:
        return
    if expired:
        tell(sender, request, Fate("expired", f"not started before it expired, at {request.expires}"))
    else:
        tell(sender, request, Fate("revoked", "revoked before it started"))


def _unknown(sender: Any, message: Any, exc: Any, name: Any, id: Any, **_: Any) -> None:
    task = Unregistered(str(name), sender.app)
    fate = Fate("unknown", f"{name} is not registered with this worker")
    tell(task, _context(sender, message, str(id)), fate)


def _rejected(sender: Any, message: Any, exc: BaseException | None = None, **_: Any) -> None:
    from kombu.exceptions import ContentDisallowed

    outcome = "undecodable" if isinstance(exc, ContentDisallowed) else "rejected"
    _tell_of_message(sender, message, Fate(outcome, sentence(exc, "not a message of a task"), exc))


def _undecodable(consumer: Any, message: Any, exc: BaseException, *_: Any, **__: Any) -> None:
    _tell_of_message(consumer, message, Fate("undecodable", sentence(exc, "undecodable"), exc))


def _tell_of_message(consumer: Any, message: Any, fate: Fate) -> None:
    request = _context(consumer, message)
    name = vars(request).get("task")
    task = consumer.app.tasks.get(name) if isinstance(name, str) else None
    tell(task or Unregistered(str(name or _NAMELESS), consumer.app), request, fate)


def _context(consumer: Any, message: Any, task_id: str | None = None) -> Any:
    """Celery's context of a message no `Request` was made of."""
    from celery.app.task import Context

    properties, delivery = message.properties or {}, message.delivery_info or {}
    headers = dict(message.headers or {})
    headers.setdefault("id", task_id or properties.get("correlation_id"))
    told = {key: delivery.get(key) for key in ("exchange", "routing_key", "redelivered")}
    told["priority"] = properties.get("priority")
    return Context(
        headers,
        hostname=consumer.hostname,
        reply_to=properties.get("reply_to"),
        correlation_id=properties.get("correlation_id"),
        delivery_info=told,
    )


def _failed(
    request: Any, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False, *_: Any, **__: Any
) -> None:
    if return_ok or request in State.told:
        return  # the child has reported it
    error = exc_info.exception
    fate = fate_of(request, getattr(error, "exc", None) or error)
    if fate is not None:
        _tell_of_request(request, fate)


def _tell_of_request(request: Any, fate: Fate) -> None:
    State.told.add(request)
    tell(request.task, request._context, fate)


def _before(say: Callable[..., None]) -> Callable[[Any], Any]:
    """A wrap function: say it, whatever happens to ours, then do what Celery does."""

    def wrap(original: Any) -> Any:
        def wrapper(*args: Any, **kwargs: Any) -> Any:
            try:
                say(*args, **kwargs)
            except Exception as ours:  # noqa: BLE001 - ours must not reach the worker
                isolation.report(ours, SCOPE)
            return original(*args, **kwargs)

        return like(original, wrapper)

    return wrap


def _terminating(original: Any) -> Any:
    def on_terminate(pool: Any) -> Any:
        running = _running()
        try:
            return original(pool)
        finally:
            _tell_unfinished(running)

    return like(original, on_terminate)


def _running() -> list[tuple[Any, Any]]:
    """Requests the children are at, each with the pool's job."""
    try:
        requests = list(sys.modules["celery.worker.state"].active_requests)
        jobs = [(request, request._apply_result and request._apply_result()) for request in requests]
        return [(request, job) for request, job in jobs if job is not None]
    except Exception as ours:  # noqa: BLE001 - ours must not reach the worker
        isolation.report(ours, SCOPE)
        return []


def _tell_unfinished(running: list[tuple[Any, Any]]) -> None:
    try:
        for request, job in running:
            if not job.ready() and request not in State.told:
                _tell_of_request(request, cold_shutdown_of(request))
    except Exception as ours:  # noqa: BLE001 - ours must not reach the worker
        isolation.report(ours, SCOPE)


def _prerun(**_: Any) -> None:
    """In a child: before its run ends, ask whether the process is dying."""
    local = local_trace.current()
    if local is not None and os.getpid() != State.installed_in:
        local.at_end.append(lambda: leave_to_main_process(local))


def _install() -> None:
    State.installed_in = os.getpid()


def _uninstall() -> None:
    RECEIVERS.disconnect()
    State.told.clear()
    State.installed_in = 0


RECEIVERS = Receivers(SCOPE, task_revoked=_revoked, task_unknown=_unknown, task_rejected=_rejected, task_prerun=_prerun)

_MESSAGE = (
    names.CELERY_ACTION,
    names.CELERY_TASK_NAME,
    names.CELERY_OUTCOME,
    names.CELERY_FATE_REASON,
    names.CELERY_STATE,
    names.CELERY_RETRIES,
    names.CELERY_HOSTNAME,
    names.CELERY_ORIGIN,
    names.CELERY_DELIVERY_INFO,
    names.CELERY_LINKED_TRACE_ID,
    names.CELERY_LINKED_SPAN_ID,
    names.MESSAGING_SYSTEM,
    names.MESSAGING_OPERATION_NAME,
    names.MESSAGING_OPERATION_TYPE,
    names.MESSAGING_DESTINATION_NAME,
    names.MESSAGING_MESSAGE_ID,
    names.SERVER_ADDRESS,
    names.SERVER_PORT,
)
_CHILD = (names.CELERY_CHILD_PID, names.CELERY_CHILD_EXIT_CODE, names.CELERY_CHILD_SIGNAL)


def _doc(verb: str, where: str, *more: str) -> SpanDoc:
    return SpanDoc(f"{verb}/shop.tasks.send_invoice", "CONSUMER", where, (*_MESSAGE, *more))


SEAM = Seam(
    "celery.fate",
    patches=(
        *RECEIVERS.patches,
        Patch("celery.worker.request", "Request.on_failure", _before(_failed)),
        Patch("celery.worker.consumer.consumer", "Consumer.on_decode_error", _before(_undecodable)),
        Patch("celery.concurrency.prefork", "TaskPool.on_terminate", _terminating),
    ),
    spans=(
        _doc(
            "lost",
            "a run whose child was killed (hard time limit, SIGKILL, out of memory, cold shutdown), from its start to "
            "the child's death",
            *_CHILD,
            names.ERROR_TYPE,
        ),
        _doc("revoked", "a revoked task; one that ran, from its start to the child's death", *_CHILD),
        _doc("expired", "a task that was not started before it expired; a point in time"),
        _doc("unknown", "a task this worker does not have; a point in time", names.ERROR_TYPE),
        _doc("rejected", "a message that cannot be decoded or is no valid task; a point in time", names.ERROR_TYPE),
    ),
    on_install=_install,
    on_uninstall=_uninstall,
)
