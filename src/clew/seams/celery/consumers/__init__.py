"""`celery.has_consumers` on the PRODUCER span, and `queue <name>`: a task was sent to a queue nobody reads.

We stand at `Producer.publish`, which knows the connection and the queue, and at `Queue.queue_declare`: a publisher
declares its queue once for each connection, and RabbitMQ's answer says who reads it, for nothing. What is older than
that, and Redis, which knows nothing of readers, is asked by a thread with a connection of its own, never by the
publish. Only a second look that finds nobody either, a second later, makes a finding. For Redis workers keep a registry
(`registry.py`), from `worker_ready` to `worker_shutdown`. The span `queue <name>` is there where the answer came after
the request's end; a finding needs a span to be on.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from types import FrameType
from typing import Any

from opentelemetry.trace import get_current_span

from clew import attributes as names
from clew.engine.needs import functions
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.celery.consumers import known as consumers_known
from clew.seams.celery.consumers import look as consumers_look
from clew.seams.celery.consumers.known import AMQP, Key, Known, key_of
from clew.seams.celery.consumers.registry import Registrar, keeps_registry
from clew.seams.celery.consumers.reporting import Sent, Waiting, root_of
from clew.seams.celery.publish import is_publish
from clew.seams.celery.receivers import Receivers
from clew.source.senders import sending_site
from clew.spans import scope as spans
from clew.story import local_trace
from clew.story.detector import watchers
from clew.story.local_trace import LocalTrace, Slot

SCOPE = __name__
_ASKED: Slot[set[Key]] = Slot()
_MAX_ASKED = 100
# Only a publisher's declaration counts: a worker declares its queues before it reads them.
_is_sending: ContextVar[bool] = ContextVar("clew_is_sending", default=False)


class State:
    """What the worker this process belongs to reads, as it was when it started, and its entry in the registry."""

    reads: frozenset[str] | None = None
    registrar: Registrar | None = None


def _open(producer: Any, /, body: Any, routing_key: Any, headers: Any, exchange: Any) -> tuple[str, str, Any] | None:
    """Queue and task, if a task goes to one queue: by the broker's own exchange, where the key is the queue."""
    usual = producer.exchange
    if exchange or getattr(usual, "name", usual) or type(routing_key) is not str or not routing_key:
        return None
    about = body if type(body) is dict else headers
    name = about.get("task") if isinstance(about, dict) else None
    return (routing_key, name, _is_sending.set(True)) if type(name) is str and spans.pipeline() is not None else None


def _note(producer: Any, /, opened: tuple[str, str, Any], caller: FrameType) -> None:
    _sent(producer.connection, opened[0], opened[1], caller)


def _close(opened: tuple[str, str, Any]) -> None:
    _is_sending.reset(opened[2])


def _declared(queue: Any, /, channel: Any, result: Any) -> None:
    if result is None or not _is_sending.get():
        return
    key = key_of((channel or queue.channel).connection.client, queue.name)
    if key is not None and key[0] == AMQP:
        consumers_known.keep(key, Known(result[2] > 0, result[1]))


def _sent(connection: Any, queue: str, task_name: str, caller: FrameType) -> None:
    """A task is with the broker: say who reads its queue, or have that asked."""
    key = key_of(connection, queue)
    if key is None or spans.is_suppressed() or _reads(queue):
        return
    known = consumers_known.answer_for(key)
    span: Any = get_current_span()
    is_ours = span.is_recording() and is_publish(span)
    if known is not None and known.is_certain and is_ours:
        getattr(span, "note", span.set_attribute)(names.CELERY_HAS_CONSUMERS, known.is_read)
    if known is None or not known.is_settled:
        _ask(key, connection, span, task_name, caller)
        return
    if known.is_read is not False or not watchers.on_queue:
        return
    local = _local()
    sent = Sent(queue, task_name, sending_site(caller), local)
    if local is not None:
        sent.report(local, known, span if is_ours else None)
    else:
        sent.report_alone(root_of(span), known)


def _ask(key: Key, connection: Any, span: Any, task_name: str, caller: FrameType) -> None:
    local, publish, queue = _local(), span.get_span_context(), key[-1]
    waiting = None
    if watchers.on_queue and (publish.is_valid or local is not None) and _is_first(local, key):
        waiting = Waiting(Sent(queue, task_name, sending_site(caller), local), publish)
        if local is not None:
            local.at_end.append(waiting.ended)
    consumers_look.watcher().ask(key, connection, waiting.answered if waiting is not None else None)


def _local() -> LocalTrace | None:
    return local_trace.current() or local_trace.of_current_span()


def _is_first(local: LocalTrace | None, key: Key) -> bool:
    """Whether this request or task has not asked yet: it says it once for each queue."""
    if local is None:
        return True
    asked = _ASKED.get(local)
    if asked is None:
        asked = _ASKED.put(local, set())
    if key in asked or len(asked) >= _MAX_ASKED:
        return False
    asked.add(key)
    return True


def _reads(queue: str) -> bool:
    """Whether this process belongs to a worker that reads the queue itself."""
    if State.reads is not None:
        return queue in State.reads
    # Set up in a pool's child, after the signal.
    trace = sys.modules.get("celery.app.trace")
    if trace is None or not trace._localized:
        return False
    app = sys.modules["celery._state"].default_app
    return app is not None and queue in app.amqp.queues.consume_from


def _worker_starts(sender: Any, **_: Any) -> None:
    # Taken now: before Celery 5.7, every queue that is sent to is among these, too.
    State.reads = frozenset(sender.app.amqp.queues.consume_from)


def _ready(sender: Any, **_: Any) -> None:
    if State.registrar is None and keeps_registry(sender):
        State.registrar = Registrar(sender)
        State.registrar.start()


def _shutting_down(**_: Any) -> None:
    # A warm shutdown reads no more, but may last; this is a signal's handler, which waits for nothing.
    if State.registrar is not None:
        State.registrar.stop(0)


def _shut_down(**_: Any) -> None:
    registrar, State.registrar, State.reads = State.registrar, None, None
    if registrar is not None:
        registrar.stop()


def _child_ends(**_: Any) -> None:
    consumers_look.wait_for_answers()


RECEIVERS = Receivers(
    SCOPE,
    worker_init=_worker_starts,
    worker_ready=_ready,
    worker_shutting_down=_shutting_down,
    worker_shutdown=_shut_down,
    worker_process_shutdown=_child_ends,
)


def _uninstall() -> None:
    RECEIVERS.disconnect()
    _shut_down()
    consumers_look.stop()
    consumers_known.reset()


SEAM = Seam(
    "celery.consumers",
    patches=(
        Patch("kombu.messaging", "Producer.publish", Around(_open, _note, close=_close)),
        Patch("kombu.entity", "Queue.queue_declare", Around(note=_declared)),
        *RECEIVERS.patches,
    ),
    spans=(
        SpanDoc(
            "queue mail",
            "INTERNAL",
            "below a publish span that has ended: nobody reads the queue, as the broker said later; a point in time",
            (
                *(names.MESSAGING_DESTINATION_NAME, names.CELERY_HAS_CONSUMERS, names.CLEW_FINDINGS),
                *(names.CLEW_FINDING_ANY, names.CLEW_FINDING_COUNT),
            ),
        ),
    ),
    on_uninstall=_uninstall,
    needs=(
        *functions("celery.app.trace", "_localized"),
        *functions("celery._state", "default_app"),
        *functions("kombu.transport.redis", "Channel._size", "Channel.keyprefix_queue", "Channel.sep"),
    ),
)
