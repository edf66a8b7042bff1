"""Celery's metrics by the messaging conventions, and clew's own: how long tasks wait, and how they end.

Recorded where there is a meter provider; without one nothing is built. Attributes are low in cardinality: task, queue,
outcome, never an id.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from clew import attributes as names
from clew.engine.metric import COUNTER, HISTOGRAM, LONG_S, SHORT_S, Metric, is_metered
from clew.engine.redaction.exception_event import type_name
from clew.seams.celery.message.attributes import consuming_broker, destination
from clew.seams.celery.message.values import mapping_of, text_of
from clew.story.task_run import TaskRun

OPERATION_DURATION = "messaging.client.operation.duration"
PROCESS_DURATION = "messaging.process.duration"
SENT = "messaging.client.sent.messages"
CONSUMED = "messaging.client.consumed.messages"
QUEUE_DURATION = "clew.celery.queue.duration"
PREFETCH_DURATION = "clew.celery.prefetch.duration"
ETA_DURATION = "clew.celery.eta.duration"
TASKS = "clew.celery.tasks"
CHILD_EXITS = "clew.celery.child.exits"
_OF_BROKER = (names.MESSAGING_SYSTEM, names.MESSAGING_DESTINATION_NAME, names.SERVER_ADDRESS, names.SERVER_PORT)


def _metric(name: str, kind: str, unit: str, text: str, bounds: Sequence[float] = SHORT_S) -> Metric:
    outside = (*_OF_BROKER, names.CELERY_TASK_NAME, names.ERROR_TYPE)
    return Metric("clew.seams.celery", name, kind, unit, text, *outside, bounds=bounds)


_OPERATION = "Duration of a publish, until the broker has the message or has refused it."
_QUEUE = "How long a message waited in the broker; from its ETA on, if that was over by then."
_PREFETCH = "How long a worker had a message before a pool process started on it."
_ETA = "How long a task was asked to wait (countdown or ETA)."
_MADE = (
    _metric(OPERATION_DURATION, HISTOGRAM, "s", _OPERATION),
    _metric(PROCESS_DURATION, HISTOGRAM, "s", "Duration of a task's run."),
    _metric(QUEUE_DURATION, HISTOGRAM, "s", _QUEUE, LONG_S),
    _metric(PREFETCH_DURATION, HISTOGRAM, "s", _PREFETCH, LONG_S),
    _metric(ETA_DURATION, HISTOGRAM, "s", _ETA, LONG_S),
    _metric(SENT, COUNTER, "{message}", "Messages that were sent, or that the broker refused."),
    _metric(CONSUMED, COUNTER, "{message}", "Messages that workers received."),
    _metric(TASKS, COUNTER, "{task}", "Tasks by what became of them."),
    _metric(CHILD_EXITS, COUNTER, "{process}", "Processes of the prefork pool that ended, by reason."),
)
METRICS = {each.name: each for each in _MADE}


def _labels(known: Mapping[str, Any], operation: str, kind: str, task_name: str) -> dict[str, Any]:
    found = {name: known[name] for name in _OF_BROKER if name in known}
    found[names.MESSAGING_OPERATION_NAME] = operation
    found[names.MESSAGING_OPERATION_TYPE] = kind
    found[names.CELERY_TASK_NAME] = task_name
    return found


# Task, start, attributes, and the publish that this one is inside of.
_sending: ContextVar[tuple[str, float, dict[str, Any], Any] | None] = ContextVar("clew_sending", default=None)


def sending(task_name: str, broker: Mapping[str, Any]) -> None:
    """Note that a publish begins."""
    if is_metered():
        _sending.set((task_name, perf_counter(), dict(broker), _sending.get()))


def sending_to(exchange: Any, routing_key: Any) -> None:
    """Where the message of the publish that has begun goes."""
    held = _sending.get()
    if held is not None:
        held[2].update(destination({"exchange": getattr(exchange, "name", exchange), "routing_key": routing_key}))


def sent(error: BaseException | None) -> None:
    """The publish is over: the broker has the message, or there was an error."""
    held = _sending.get()
    if held is None:
        return
    task_name, began, known, outer = held
    _sending.set(outer)
    labels = _labels(known, "apply_async", "send", task_name)
    if error is not None:
        labels[names.ERROR_TYPE] = type_name(error)
    METRICS[SENT].record(1, labels)
    METRICS[OPERATION_DURATION].record(perf_counter() - began, labels)


def consumed(app: Any, held: Mapping[str, Any]) -> None:
    """A worker's main process got a message of a task it knows."""
    if is_metered():
        known = {**consuming_broker(app), **destination(mapping_of(held.get("delivery_info")))}
        METRICS[CONSUMED].record(1, _labels(known, "receive", "receive", text_of(held.get("task"))))


def ran(run: TaskRun, known: Mapping[str, Any], waits_ms: Mapping[str, float]) -> None:
    """A run is over.

    Args:
        run: the run, ended.
        known: attributes of its broker and destination.
        waits_ms: how long it waited, by attribute name.
    """
    if not is_metered():
        return
    labels = _labels(known, "run", "process", run.task_name)
    outcome = {**labels, names.CELERY_OUTCOME: run.outcome}
    if run.outcome in ("failed", "soft_timed_out") and run.error is not None:
        outcome[names.ERROR_TYPE] = type_name(run.error)
    METRICS[PROCESS_DURATION].record((run.ended_ns - run.started_ns) / 1e9, outcome)
    count_outcome(run.task_name, run.outcome, known)
    where = _waiting_at(run.task_name, known)
    for attribute, name in _WAITS:
        if attribute in waits_ms:
            METRICS[name].record(waits_ms[attribute] / 1e3, where, run.local.exemplar_context())


_WAITS = (
    (names.CELERY_QUEUE_MS, QUEUE_DURATION),
    (names.CELERY_PREFETCH_MS, PREFETCH_DURATION),
    (names.CELERY_ETA_MS, ETA_DURATION),
)


def _waiting_at(task_name: str, known: Mapping[str, Any]) -> dict[str, Any]:
    found = {names.CELERY_TASK_NAME: task_name}
    if names.MESSAGING_DESTINATION_NAME in known:
        found[names.MESSAGING_DESTINATION_NAME] = known[names.MESSAGING_DESTINATION_NAME]
    return found


def count_outcome(task_name: str, outcome: str, known: Mapping[str, Any], count: int = 1) -> None:
    """A task, or so many of a batch, came to an end, in a child or as the main process tells it."""
    if is_metered() and count:
        METRICS[TASKS].record(count, {**_waiting_at(task_name, known), names.CELERY_OUTCOME: outcome})


def count_exit(reason: str) -> None:
    """A process of the pool has ended, as the main process tells it."""
    if is_metered():
        METRICS[CHILD_EXITS].record(1, {names.CELERY_CHILD_EXIT_REASON: reason})


def reset() -> None:
    """Forget the instruments: another provider may be there next time."""
    for each in METRICS.values():
        each.reset()
