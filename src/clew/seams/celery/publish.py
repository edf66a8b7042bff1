"""The PRODUCER span `apply_async/<task>`, around the real publish.

We stand at `Celery.send_task`, through which every message goes: `delay`, `apply_async`, signatures and canvases, beat,
retries, names this process does not know. contrib stands in `before_task_publish` and `after_task_publish`: nobody ends
its span when the broker refuses or the task is unknown here (docs/upstream.md, celery 1, 2). An eager call
(`task_always_eager`) never gets there; those we see in `Task.apply`, where canvases and retries come by too, because
asking the configuration in every `apply_async` would cost each publish 10 microseconds.
"""

from __future__ import annotations

import functools
import inspect
from itertools import compress
from operator import is_not
from time import time_ns
from types import FrameType
from typing import Any

from opentelemetry import propagate
from opentelemetry.context import set_value
from opentelemetry.trace import SpanKind, get_current_span

from clew import attributes as names
from clew.engine import isolation
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.celery.contrib import TakeOver
from clew.seams.celery.message import chords, fan_out, metrics
from clew.seams.celery.message.attempts import attempts_header, is_next_attempt, is_others_chord
from clew.seams.celery.message.attributes import message_attributes, publishing_broker, route_attributes
from clew.seams.celery.message.fan_out import Sending
from clew.seams.celery.message.headers import ATTEMPTS, CHORD, FAN_OUT, PUBLISHED_AT, RECEIVED
from clew.seams.celery.message.waiting import eta_attributes
from clew.seams.celery.receivers import Receivers
from clew.source.senders import sending_site
from clew.spans import scope as spans
from clew.spans.current import SUPPRESS, attach, detach
from clew.spans.light_span import LightSpan
from clew.story import local_trace, transactions
from clew.story.detector import watchers
from clew.story.local_trace import LocalTrace
from clew.story.receiving import note_receiver
from clew.story.transactions import PUBLISHED_HEADER, Publish

SCOPE = __name__


def _start(task_name: Any, aliases: str, more: dict[str, Any]) -> spans.OpenSpan | None:
    pipeline = spans.pipeline()
    if pipeline is None or spans.is_suppressed():
        return None
    attributes = {
        names.CELERY_ACTION: "apply_async",
        names.CELERY_TASK_NAME: str(task_name),
        names.MESSAGING_OPERATION_NAME: "apply_async",
        names.MESSAGING_OPERATION_TYPE: "send",
        **more,
    }
    if aliases:
        attributes[names.CELERY_PUBLISHED_IN_TRANSACTION] = aliases
    note_receiver(attributes)
    name = f"apply_async/{task_name}"
    span = spans.start_root(pipeline, SCOPE, name, SpanKind.PRODUCER, None, attributes)
    if span is not None:
        span.enter()
    return span


def _open(
    app: Any,
    /,
    name: Any,
    task_type: Any,
    connection: Any,
    positional: tuple[Any, ...],
    keywords: dict[str, Any],
    original: Any,
    caller: FrameType,
) -> Sending | None:
    broker = publishing_broker(app, connection)
    local = _local()  # before the span is current: asking for its context would look like a child of it
    connections = transactions.open_connections()
    span = _start(name, transactions.aliases_of(connections), broker)
    if span is None:
        return None
    metrics.sending(str(name), broker)
    sending = Sending(span, str(name), local, caller, connections)
    if local is not None and (watchers.on_publish or watchers.on_sent):
        sending.publish = publish = Publish(
            local, str(name), task_type, caller, is_eager=False, connections=connections
        )
        publish.app, publish.span = app, span
        _let_detectors_know(publish, original, positional, keywords)
    return sending


def _open_eager(
    task: Any,
    /,
    task_id: Any,
    retries: Any,
    positional: tuple[Any, ...],
    keywords: dict[str, Any],
    original: Any,
    caller: FrameType,
) -> spans.OpenSpan | None:
    if (retries and is_next_attempt(task_id, retries)) or not task.app.conf.task_always_eager:
        return None  # the next attempt of an eager run is not sent
    connections = transactions.open_connections()
    span = _start(task.name, transactions.aliases_of(connections), {names.CELERY_EAGER: True})
    local = _local() if span is not None and watchers.on_publish else None
    if local is not None:
        publish = Publish(local, str(task.name), task, caller, is_eager=True, connections=connections)
        publish.app, publish.span = task.app, span
        _let_detectors_know(publish, original, positional, keywords)
    return span


def _local() -> LocalTrace | None:
    """The request or task that sends."""
    return local_trace.current() or local_trace.of_current_span()


def _let_detectors_know(publish: Publish, original: Any, positional: tuple[Any, ...], keywords: dict[str, Any]) -> None:
    """Tell the detectors what is about to be sent. The task is not looked up: that would finalize the app."""
    try:
        given = _given(original, positional, keywords)
        publish.args, publish.kwargs, publish.options = given.pop("args", None), given.pop("kwargs", None), given
        for on_publish in watchers.on_publish:
            on_publish(publish)
    except Exception as ours:  # noqa: BLE001 - the span is open, and must be closed
        isolation.report(ours, SCOPE)
    publish.frame = publish.args = publish.kwargs = None


def _given(original: Any, positional: tuple[Any, ...], keywords: dict[str, Any]) -> dict[str, Any]:
    """What the call gives by name, but for defaults."""
    parameters, defaults = _defaults(original)
    is_given = map(is_not, positional, defaults)
    return {**dict(compress(zip(parameters, positional, strict=False), is_given)), **keywords}


@functools.lru_cache(maxsize=8)
def _defaults(original: Any) -> tuple[tuple[str, ...], tuple[Any, ...]]:
    parameters = inspect.signature(original).parameters
    return tuple(parameters), tuple(each.default for each in parameters.values())


def _sent(opened: Sending, error: BaseException | None, caller: FrameType) -> None:
    """Tell the detectors; and the transactions that were open meanwhile how long they have waited for the broker."""
    metrics.sent(error)
    span = opened.span
    took_ns = span.elapsed_ns if type(span) is LightSpan else 0
    publish = opened.publish
    if publish is not None and error is None:
        publish.took_ns, publish.body_bytes, publish.span = took_ns, opened.body_bytes, opened.span_in_use
        for on_sent in watchers.on_sent:
            on_sent(publish)
    for connection in opened.connections:
        transaction = transactions.open_on(connection)
        if transaction is not None:
            transaction.called(transactions.BROKER, took_ns, "publish", sending_site(caller))


def _before_publish(
    headers: dict[str, Any],
    body: Any = None,
    exchange: Any = None,
    routing_key: Any = None,
    declare: Any = None,
    **_: Any,
) -> None:
    """Tell the message, whose headers are this publish's own dictionary, where it comes from."""
    _renew(headers, body)
    chords.annotate_message(headers, body)
    sending = fan_out.current()
    connections = sending.connections if sending is not None else transactions.open_connections()
    if aliases := transactions.aliases_of(connections):
        headers[PUBLISHED_HEADER] = aliases
    metrics.sending_to(exchange, routing_key)
    span: Any = get_current_span()
    if span.is_recording() and is_publish(span) and not spans.is_suppressed():
        system = span.attributes.get(names.MESSAGING_SYSTEM)
        attributes = message_attributes(headers, body)
        attributes.update(route_attributes(system, exchange, routing_key, declare))
        if names.CELERY_ETA in attributes:
            attributes.update(eta_attributes(attributes[names.CELERY_ETA]))
        # A light span takes what is known to be clean as it is.
        note = getattr(span, "note", span.set_attribute)
        for key, value in attributes.items():
            note(key, value)
        if sending is not None:
            sending.take_message(headers, body, aliases)
    propagate.inject(headers)


def _renew(headers: dict[str, Any], body: Any) -> None:
    """A retry brings the headers of the message before it; those of ours must not stay."""
    for name in ("tracestate", PUBLISHED_HEADER, RECEIVED, ATTEMPTS, FAN_OUT):
        headers.pop(name, None)
    headers[PUBLISHED_AT] = str(time_ns())
    about = body if isinstance(body, dict) else headers
    if CHORD in headers and is_others_chord(about.get("id"), headers[CHORD]):
        del headers[CHORD]
    if about.get("retries") and (attempts := attempts_header(about.get("id"), about["retries"])):
        headers[ATTEMPTS] = attempts


def _transfer(body: Any) -> Any:
    """The message is serialised, and goes to the broker."""
    sending = fan_out.current()
    if sending is None:
        return None
    sending.body_bytes = len(body) if isinstance(body, (str, bytes)) else 0
    # No driver's span below the one that stands for a thousand: `clew.folded.duration_ms` says what they took.
    return attach(set_value(SUPPRESS, True)) if sending.is_folded else None


def is_publish(span: Any) -> bool:
    """Whether a span is one of this seam's."""
    scope = getattr(span, "instrumentation_scope", None)
    return scope is not None and scope.name == SCOPE


RECEIVERS = Receivers(SCOPE, before_task_publish=_before_publish)
CONTRIB = TakeOver(before_task_publish="_trace_before_publish", after_task_publish="_trace_after_publish")


def _uninstall() -> None:
    RECEIVERS.disconnect()
    CONTRIB.give_back()


SEAM = Seam(
    "celery.publish",
    patches=(
        Patch("celery.app.base", "Celery.send_task", Around(_open, _sent)),
        Patch("celery.app.task", "Task.apply", Around(_open_eager)),
        Patch("kombu.messaging", "Producer._publish", Around(_transfer, close=lambda opened: detach(opened))),
        *RECEIVERS.patches,
        *CONTRIB.patches,
    ),
    spans=(
        SpanDoc(
            "apply_async/shop.tasks.send_invoice",
            "PRODUCER",
            "a publish, until the broker has the message or has refused it; an eager call, until the task has run",
            (
                *(names.CELERY_ACTION, names.CELERY_TASK_NAME, names.CELERY_EXCHANGE, names.CELERY_ROOT_ID),
                *(names.CELERY_PARENT_ID, names.CELERY_GROUP_ID, names.CELERY_GROUP_INDEX, names.CELERY_ETA),
                *(names.CELERY_ETA_MS, names.CELERY_EXPIRES, names.CELERY_RETRIES, names.CELERY_EAGER),
                *(names.CELERY_PUBLISHED_IN_TRANSACTION, names.CELERY_HAS_CONSUMERS, names.DJANGO_SIGNAL_RECEIVER),
                *(names.CLEW_FAN_OUT_FIRST_MESSAGE_ID, names.CLEW_FAN_OUT_LAST_MESSAGE_ID),
                *(names.CLEW_FAN_OUT_BODY_SIZE, names.CLEW_FAN_OUT_OWN_TRACES, names.MESSAGING_SYSTEM),
                *(names.MESSAGING_OPERATION_NAME, names.MESSAGING_OPERATION_TYPE, names.MESSAGING_DESTINATION_NAME),
                *(names.MESSAGING_DESTINATION, names.MESSAGING_DESTINATION_KIND, names.MESSAGING_ROUTING_KEY),
                *(names.MESSAGING_MESSAGE_ID, names.MESSAGING_CONVERSATION_ID, names.SERVER_ADDRESS),
                names.SERVER_PORT,
            ),
        ),
    ),
    on_install=CONTRIB.take,
    on_uninstall=_uninstall,
    needs=CONTRIB.needs,
)
