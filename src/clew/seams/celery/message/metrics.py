"""Celery's metrics by the messaging conventions, and clew's own: how long tasks wait, and how they end.

Recorded where there is a meter provider; without one nothing is built. Attributes are low in cardinality: task, queue,
outcome, never an id.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from opentelemetry import metrics
from opentelemetry.context import Context

from clew import attributes as names
from clew.engine.redaction.exception_event import type_name
from clew.engine.series import Series
from clew.seams.celery.message.attributes import consuming_broker, destination
from clew.seams.celery.message.values import mapping_of, text_of
from clew.story.task_run import TaskRun
from clew.version import VERSION

_SHORT_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
_LONG_S = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400)
OPERATION_DURATION = "messaging.client.operation.duration"
PROCESS_DURATION = "messaging.process.duration"
SENT = "messaging.client.sent.messages"
CONSUMED = "messaging.client.consumed.messages"
QUEUE_DURATION = "clew.celery.queue.duration"
PREFETCH_DURATION = "clew.celery.prefetch.duration"
ETA_DURATION = "clew.celery.eta.duration"
TASKS = "clew.celery.tasks"
CHILD_EXITS = "clew.celery.child.exits"
_HISTOGRAMS = {
    OPERATION_DURATION: ("Duration of a publish, until the broker has the message or has refused it.", _SHORT_S),
    PROCESS_DURATION: ("Duration of a task's run.", _SHORT_S),
    QUEUE_DURATION: ("How long a message waited in the broker; from its ETA on, if that was over by then.", _LONG_S),
    PREFETCH_DURATION: ("How long a worker had a message before a pool process started on it.", _LONG_S),
    ETA_DURATION: ("How long a task was asked to wait (countdown or ETA).", _LONG_S),
}
_COUNTERS = {
    SENT: ("{message}", "Messages that were sent, or that the broker refused."),
    CONSUMED: ("{message}", "Messages that workers received."),
    TASKS: ("{task}", "Tasks by what became of them."),
    CHILD_EXITS: ("{process}", "Processes of the prefork pool that ended, by reason."),
}
METRICS = {
    **{name: ("histogram", "s", text) for name, (text, _) in _HISTOGRAMS.items()},
    **{name: ("counter", unit, text) for name, (unit, text) in _COUNTERS.items()},
}
_OF_BROKER = (names.MESSAGING_SYSTEM, names.MESSAGING_DESTINATION_NAME, names.SERVER_ADDRESS, names.SERVER_PORT)
_made: dict[str, tuple[Any, Series]] = {}


def is_metered() -> bool:
    """Whether anybody would see a metric."""
    # The providers of the API itself record nothing.
    return not type(metrics.get_meter_provider()).__module__.startswith("opentelemetry.metrics")


def _instrument(name: str, labels: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """A metric, and the labels to record: a message may name any task and queue."""
    made = _made.get(name)
    if made is None:
        found: Any
        meter = metrics.get_meter("clew.seams.celery", VERSION)
        if name in _HISTOGRAMS:
            text, bounds = _HISTOGRAMS[name]
            found = meter.create_histogram(name, "s", text, explicit_bucket_boundaries_advisory=list(bounds))
        else:
            unit, text = _COUNTERS[name]
            found = meter.create_counter(name, unit, text)
        made = _made[name] = (found, Series(*_OF_BROKER, names.CELERY_TASK_NAME, names.ERROR_TYPE))
    return made[0], made[1].bounded(labels)


def _record(name: str, value: float, labels: dict[str, Any], exemplar: Context | None = None) -> None:
    instrument, found = _instrument(name, labels)
    instrument.record(value, found, exemplar)


def _add(name: str, count: int, labels: dict[str, Any]) -> None:
    instrument, found = _instrument(name, labels)
    instrument.add(count, found)


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
    _add(SENT, 1, labels)
    _record(OPERATION_DURATION, perf_counter() - began, labels)


def consumed(app: Any, held: Mapping[str, Any]) -> None:
    """A worker's main process got a message of a task it knows."""
    if is_metered():
        known = {**consuming_broker(app), **destination(mapping_of(held.get("delivery_info")))}
        _add(CONSUMED, 1, _labels(known, "receive", "receive", text_of(held.get("task"))))


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
    _record(PROCESS_DURATION, (run.ended_ns - run.started_ns) / 1e9, outcome)
    count_outcome(run.task_name, run.outcome, known)
    where = _waiting_at(run.task_name, known)
    for attribute, name in _WAITS:
        if attribute in waits_ms:
            _record(name, waits_ms[attribute] / 1e3, where, run.local.exemplar_context())


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
        _add(TASKS, count, {**_waiting_at(task_name, known), names.CELERY_OUTCOME: outcome})


def count_exit(reason: str) -> None:
    """A process of the pool has ended, as the main process tells it."""
    if is_metered():
        _add(CHILD_EXITS, 1, {names.CELERY_CHILD_EXIT_REASON: reason})


def reset() -> None:
    """Forget the instruments: another provider may be there next time."""
    _made.clear()
