"""The processes of the prefork pool: `child start`, told by the child, and `child exit`, told by the main process.

A child that is killed tells nothing, so its exit is always told by its parent, from what that one knows anyway: the
counter billiard shares with each child for the results that arrived, and what the kernel says of a dead child's memory.
"""

from __future__ import annotations

import os
import signal
import sys
from contextlib import suppress
from time import time_ns
from typing import Any
from weakref import ref

from opentelemetry.trace import Status, StatusCode

from clew import attributes as names
from clew.engine import configuration
from clew.engine.flush import flush_before_exit
from clew.seams.celery.lifecycle.worker import State as Workers
from clew.seams.celery.lifecycle.worker import start_context, start_span
from clew.seams.celery.message import metrics
from clew.seams.celery.message.attributes import Attributes
from clew.spans import scope as spans

_MAX_CHILDREN = 10_000
_CLOSED_BY_POOL = (None, 0, 1, 70, signal.SIGTERM, -signal.SIGTERM)
# As planned: counted, and no trace of their own unless all details are wanted.
_PLANNED = ("max_tasks_per_child", "max_memory_per_child", "autoscale", "pool_shrink", "shutdown")
_FAILURES = ("hard_time_limit", "signal", "exit_code")


class State:
    """The children of this process; those a child has inherited from its parent are not its own."""

    owner = 0
    forking_ns = 0
    children: dict[int, Child] = {}


class Child:
    """One process of a pool.

    Args:
        pool, process: billiard's.
        started_ns: when it was forked.
    """

    def __init__(self, pool: Any, process: Any, started_ns: int) -> None:
        self.pool = ref(pool)
        self.process = process
        self.counter = pool._on_ready_counters.get(process.pid)
        self.hostname = str(pool._initargs[1])
        self.max_tasks = pool._maxtasksperchild
        self.started_ns = started_ns
        self.max_rss_bytes = 0
        self.is_timed_out = self.is_told_to_leave = False

    @property
    def task_count(self) -> int:
        """Tasks whose results have arrived. Without its lock: a child that was killed may have it."""
        return int(self.counter.get_obj().value) if self.counter is not None else 0


def is_workers(initializer: Any, arguments: Any) -> bool:
    """Whether a pool is that of a Celery worker, and not one the application made of billiard."""
    module = getattr(initializer, "__module__", "")
    return module == "celery.concurrency.prefork" and len(arguments) > 1


def forked(pool: Any, process: Any, started_ns: int) -> None:
    """Note that a child was started."""
    pid = os.getpid()
    if State.owner != pid:
        State.owner = pid
        State.children = {}
    if is_workers(pool._initializer, pool._initargs) and len(State.children) < _MAX_CHILDREN:
        State.children[process.pid] = Child(pool, process, started_ns)


def child_of(pid: int | None) -> Child | None:
    """The child of that process id, if it is this process' own."""
    return State.children.get(pid) if pid is not None and State.owner == os.getpid() else None


def restarting(pool: Any) -> None:
    """Every child of this pool is told to leave when its task is over (`pool_restart`)."""
    for child in State.children.values() if State.owner == os.getpid() else ():
        child.is_told_to_leave = child.is_told_to_leave or child.pool() is pool


def report_exits(pool: Any, *, is_over: bool = False) -> None:
    """Tell of the children the pool has taken leave of; with `is_over`, of all it had."""
    if State.owner != os.getpid():
        return
    kept = () if is_over else {process.pid for process in pool._pool}
    for pid, child in list(State.children.items()):
        if child.pool() is pool and pid not in kept:
            del State.children[pid]
            _report_exit(pid, child, pool)


def _report_exit(pid: int, child: Child, pool: Any) -> None:
    code = child.process.exitcode
    reason = _reason(child, code, pool)
    metrics.count_exit(reason)
    if reason in _PLANNED and configuration.settings.detail != "all":
        return
    found: Attributes = {
        names.CELERY_HOSTNAME: child.hostname,
        names.CELERY_CHILD_PID: pid,
        names.CELERY_CHILD_EXIT_REASON: reason,
        names.CELERY_CHILD_TASK_COUNT: child.task_count,
    }
    if code is not None and code >= 0:
        found[names.CELERY_CHILD_EXIT_CODE] = code
    if (name := _signal_name(code)) is not None:
        found[names.CELERY_CHILD_SIGNAL] = name
    if child.max_rss_bytes:
        found[names.CELERY_CHILD_MAX_RSS_BYTES] = child.max_rss_bytes
    if reason in _FAILURES:
        found[names.ERROR_TYPE] = name if reason == "signal" else reason
    root = start_span("child exit", found, child.started_ns)
    if root is not None:
        if reason in _FAILURES:
            root.span.set_status(Status(StatusCode.ERROR, _sentence(reason, name, code)))
        root.close()


def _reason(child: Child, code: int | None, pool: Any) -> str:
    process = child.process
    if child.is_timed_out:
        return "hard_time_limit"
    if getattr(process, "_job_terminated", False):
        # A cold shutdown terminates the tasks, too.
        return "shutdown" if _is_stopping() else "terminated"
    if code == sys.modules["billiard.pool"].EX_RECYCLE:
        is_used_up = child.max_tasks and child.task_count >= child.max_tasks
        return "max_tasks_per_child" if is_used_up else "max_memory_per_child"
    if getattr(process, "_controlled_termination", False):
        return "autoscale" if _scales() else "pool_shrink"
    if pool._state != sys.modules["billiard.pool"].RUN and code in _CLOSED_BY_POOL:
        return "shutdown"
    if child.is_told_to_leave and code == 0:
        return "pool_restart"
    if code is None:
        return "unknown"
    if code == 0:
        return "exit"
    return "signal" if _signal_name(code) is not None else "exit_code"


def _is_stopping() -> bool:
    return any(life.last_step is not None for life in list(Workers.lives.values()))


def _scales() -> bool:
    return any(getattr(worker, "autoscaler", None) for worker in list(Workers.lives))


def _signal_name(code: int | None) -> str | None:
    """The signal a child ended with; billiard's handler of SIGTERM leaves with its number."""
    if code is not None and (code < 0 or code == signal.SIGTERM):
        with suppress(ValueError):
            return signal.Signals(abs(code)).name
    return None


def _sentence(reason: str, name: str | None, code: int | None) -> str:
    if reason == "signal":
        return f"ended by {name}"
    return "killed: a task ran longer than its hard time limit" if reason == "hard_time_limit" else f"exit code {code}"


def report_start(worker: Any, /, error: BaseException | None) -> None:
    """In a child: it is set up, or could not be set up and is about to exit.

    Args:
        worker: billiard's `Worker`.
        error: what left its initialiser.
    """
    started_ns, State.forking_ns = State.forking_ns, 0
    if not is_workers(worker.initializer, worker.initargs):
        return
    hostname = str(worker.initargs[1])
    starting = start_context(hostname)
    if starting is None and error is None and configuration.settings.detail != "all":
        return
    found = {names.CELERY_HOSTNAME: hostname, names.CELERY_CHILD_PID: os.getpid()}
    span = start_span("child start", found, started_ns or time_ns(), starting)
    if span is None:
        return
    span.close(error)
    pipeline = spans.pipeline()
    if error is not None and pipeline is not None:
        flush_before_exit(pipeline.provider, is_last=True)
