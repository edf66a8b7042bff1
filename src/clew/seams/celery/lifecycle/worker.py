"""The life of a worker, from its start to the end of its shutdown: what its spans `worker start` and `worker stop` say.

A signal's handler may run in the middle of anything the main thread does, an export included; so what it notes is
appended to a list, and the span is made when the shutdown is over.
"""

from __future__ import annotations

import sys
from time import time_ns
from typing import Any
from weakref import WeakKeyDictionary

from opentelemetry.context import Context
from opentelemetry.trace import NonRecordingSpan, SpanContext, SpanKind, set_span_in_context

from clew import attributes as names
from clew.seams.celery.message.attributes import Attributes, consuming_broker
from clew.spans import scope as spans

SCOPE = "clew.seams.celery.lifecycle"
_MAX_STEPS = 10
_MAX_QUEUES = 50
_POOLS = {"thread": "threads"}
WARM, SOFT, COLD, HARD = "warm", "soft", "cold", "hard"


class WorkerLife:
    """What is known of one worker of this process."""

    def __init__(self) -> None:
        # Its children, forked before it is ready, start below it.
        self._start = start_span("worker start", {}, time_ns())
        self._is_start_told = self._is_ready = self._is_stop_told = False
        self._stopping_ns = 0
        self._steps: list[str] = []
        self._signals: list[str] = []
        self._running_count = 0
        self._held: list[Any] = []
        self._error: BaseException | None = None
        # In the middle of a soft shutdown.
        self.is_waiting = False

    @property
    def start_context(self) -> Context | None:
        """What starts below `worker start`, also in another process; None: it is over."""
        if self._is_start_told or self._start is None:
            return None
        above = self._start.span.get_span_context()
        remote = SpanContext(above.trace_id, above.span_id, True, above.trace_flags, above.trace_state)
        return set_span_in_context(NonRecordingSpan(remote), Context())

    @property
    def last_step(self) -> str | None:
        """How it was asked to stop, the last time; None: not yet."""
        return self._steps[-1] if self._steps else None

    def ready(self, worker: Any) -> None:
        """Make the span `worker start`: the worker reads its queues."""
        self._is_ready = True
        self._make_start_span(worker, "ready", None)

    def failed(self, worker: Any, error: BaseException) -> None:
        """Something left its start, or later its main loop: an error, or a request to stop."""
        if self._is_start_told:
            if not isinstance(error, (SystemExit, KeyboardInterrupt)):
                self._error = error
            return
        is_asked = isinstance(error, (SystemExit, KeyboardInterrupt)) and bool(
            self._signals or not getattr(error, "code", None)
        )
        self._make_start_span(worker, "stopped" if is_asked else "failed", None if is_asked else error)

    def step(self, step: str, signal: str | None = None) -> None:
        """Note a request to stop, warm, soft or cold. Runs inside a signal's handler."""
        if not self._stopping_ns:
            self._stopping_ns = time_ns()
            self._note_tasks()
        if signal and len(self._signals) < _MAX_STEPS:
            self._signals.append(signal)
        if len(self._steps) < _MAX_STEPS and self._steps[-1:] != [step]:
            self._steps.append(step)

    def stopped(self, worker: Any) -> None:
        """Make the span `worker stop`: the shutdown is over."""
        if self._is_stop_told or not self._is_ready:
            return
        self._is_stop_told = True
        root = start_span("worker stop", self._stop_attributes(worker), self._stopping_ns)
        self._held.clear()
        if root is not None:
            root.close(self._error)

    def _make_start_span(self, worker: Any, outcome: str, error: BaseException | None) -> None:
        if self._is_start_told:
            return
        self._is_start_told = True
        root, self._start = self._start, None
        if root is not None:
            root.span.set_attributes({**_described(worker), names.CELERY_WORKER_OUTCOME: outcome})
            root.close((error.__cause__ or error) if error is not None else None)

    def _note_tasks(self) -> None:
        state = sys.modules.get("celery.worker.state")
        if state is not None:
            self._running_count = len(state.active_requests)
            self._held = list(state.requests.values())

    def _stop_attributes(self, worker: Any) -> Attributes:
        found: Attributes = {
            names.CELERY_HOSTNAME: str(worker.hostname),
            names.CELERY_SHUTDOWN: self.last_step or WARM,
            names.CELERY_SHUTDOWN_STEPS: tuple(self._steps),
            names.CELERY_SHUTDOWN_RUNNING_COUNT: self._running_count,
            names.CELERY_SHUTDOWN_RESTORED_COUNT: sum(map(_is_restored, self._held)),
        }
        if self._signals:
            found[names.CELERY_SHUTDOWN_SIGNALS] = tuple(self._signals)
        if isinstance(worker.exitcode, int):
            found[names.CELERY_SHUTDOWN_EXIT_CODE] = int(worker.exitcode)
        return found


class State:
    """The workers of this process."""

    lives: WeakKeyDictionary[Any, WorkerLife] = WeakKeyDictionary()


def _is_restored(request: Any) -> bool:
    """Whether the broker will deliver it again: nobody acknowledged it, or Celery took it back."""
    return not request.acknowledged or (request._already_cancelled and request.task.acks_late)


def _described(worker: Any) -> Attributes:
    """The worker's attributes, as far as they are known by now."""
    held = vars(worker)
    found: Attributes = {names.CELERY_HOSTNAME: str(held.get("hostname") or "")}
    if version := getattr(sys.modules.get("celery"), "__version__", None):
        found[names.CELERY_VERSION] = version
    if (pool := held.get("pool_cls")) is not None:
        name = str(getattr(pool, "__module__", pool)).rpartition(".")[2]
        found[names.CELERY_WORKER_POOL] = _POOLS.get(name, name)
    for attribute, name in (
        ("concurrency", names.CELERY_WORKER_CONCURRENCY),
        ("prefetch_multiplier", names.CELERY_WORKER_PREFETCH_MULTIPLIER),
        ("max_tasks_per_child", names.CELERY_WORKER_MAX_TASKS),
        ("max_memory_per_child", names.CELERY_WORKER_MAX_MEMORY_KB),
    ):
        if isinstance(held.get(attribute), int):
            found[name] = held[attribute]
    if held.get("autoscale"):
        largest, smallest = held["autoscale"]
        found[names.CELERY_WORKER_AUTOSCALE] = (largest, smallest)
        found[names.CELERY_WORKER_CONCURRENCY] = largest
    if "steps" in held:  # its queues are chosen and its tasks imported
        found.update(_of_app(worker.app))
    return found


def _of_app(app: Any) -> Attributes:
    tasks = sum(not name.startswith("celery.") for name in list(app.tasks))
    queues = tuple(map(str, app.amqp.queues.consume_from))[:_MAX_QUEUES]
    broker = consuming_broker(app)
    return {**broker, names.CELERY_WORKER_QUEUES: queues, names.CELERY_WORKER_TASK_COUNT: tasks}


def start_context(hostname: str) -> Context | None:
    """The context of the span `worker start` of that worker; None: it is over."""
    lives = [life for worker, life in list(State.lives.items()) if worker.hostname == hostname]
    return lives[-1].start_context if lives else None


def start_span(
    name: str, attributes: Attributes, start_ns: int, context: Context | None = None
) -> spans.OpenSpan | None:
    """Start a span at the time something began: a trace of its own, unless `context` says what it is below."""
    pipeline = spans.pipeline()
    if pipeline is None or spans.is_suppressed():
        return None
    kind = SpanKind.INTERNAL
    return spans.start_root(pipeline, SCOPE, name, kind, context or Context(), attributes, (), start_ns or None)
