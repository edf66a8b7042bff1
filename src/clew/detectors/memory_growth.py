"""`memory_growth`: the memory of a worker grows from task to task, or from request to request, and is not given back.

We stand at the end of every run of a task, where the seam celery.memory has the process' resident memory, and of every
request, where django.memory has it, and keep the lowest readings over the process' life (see memory_trend.py): warm-up,
garbage, one big allocation, and caches that have filled are left alone. Said on the run or request at which it is
certain and `memory_growth_threshold_mb` are gained, and again when it has doubled; it names the task or route in whose
runs most of the growth came. A cache larger than the threshold looks the same while it fills, and so does a long
warm-up: at first it is information, and a warning when it goes on. Reported though it may be meant: a cache that fills
evenly to twice the threshold. Garbage that waits for its first full collection is information, too.
Not found: leaks of workers that are recycled before they have gained that much; eager runs; requests of the test
client; systems without /proc.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
from typing import Any

from clew.detectors.memory_trend import WARM_UP, Growth, Trend
from clew.engine import configuration, needs
from clew.story import memory
from clew.story.detector import Detector
from clew.story.findings import INFORMATION, WARNING, Finding
from clew.story.local_trace import LocalTrace
from clew.story.memory import Reading
from clew.story.recycling import requests_until_replaced
from clew.story.task_run import TaskRun

_TYPE = "memory_growth"
_MAX_TASKS = 200
_MIB = 1 << 20
_MIN_SHARE = 0.5
_KINDS = {"task": "task", "request": "route"}
_RECYCLE_CHILDREN = "worker_max_memory_per_child (or worker_max_tasks_per_child) keeps it in bounds meanwhile"
_RECYCLE_WORKERS = (
    "`gunicorn --max-requests 1000 --max-requests-jitter 100` (uvicorn: `--limit-max-requests 1000`) keeps it in bounds"
    " meanwhile"
)


needs.declare(
    __name__,
    *needs.attributes("django.db.backends.base.base", "BaseDatabaseWrapper", "queries_log", "queries_logged"),
    consequence="memory_growth does not say that DEBUG keeps the queries",
)


def _full_collections() -> int:
    return int(gc.get_stats()[-1]["collections"])


class Process:
    """What this process has gained, and in the runs of which tasks."""

    def __init__(self) -> None:
        self.trend = Trend()
        self.gained_by: dict[str, int] = {}
        # From which growth on there is something to say.
        self.next_bytes = 0
        self.said = 0
        self.full_collections = _full_collections()
        self.lock = threading.Lock()


class _Processes:
    """What this process has gained in the runs of tasks, and in requests."""

    def __init__(self) -> None:
        self.of_tasks, self.of_requests = Process(), Process()


_processes = _Processes()


def _reset() -> None:
    """Start again in a forked child: its memory is its own."""
    global _processes
    _processes = _Processes()


def _on_task_end(run: TaskRun) -> None:
    reading = memory.READING.get(run.local)
    if reading is not None and not run.is_eager:
        _watch(_processes.of_tasks, run.local, run.task_name, reading)


def _on_end(local: LocalTrace) -> None:
    reading = memory.READING.get(local)
    if reading is not None and reading.is_of_request:
        _watch(_processes.of_requests, local, reading.route, reading)


def _watch(process: Process, local: LocalTrace, name: str, reading: Reading) -> None:
    limit = configuration.settings.memory_growth_threshold_mb
    # Two threads of one pool: one of many readings may be missed, but nobody waits.
    if not limit or not process.lock.acquire(blocking=False):
        return
    try:
        growth = _take(process, name, reading, limit)
    finally:
        process.lock.release()
    if growth is not None:
        _report(process, local, reading, growth)


def _take(process: Process, name: str, reading: Reading, limit_mb: float) -> Growth | None:
    trend, gained_by = process.trend, process.gained_by
    after = reading.after
    if trend.count >= WARM_UP and (name in gained_by or len(gained_by) < _MAX_TASKS):
        gained_by[name] = gained_by.get(name, 0) + after - reading.before
    if not trend.add(after):
        return None
    least_bytes = max(int(limit_mb * _MIB), process.next_bytes)
    growth = trend.growth() if trend.risen >= least_bytes else None
    if growth is None or growth.gained < least_bytes:
        return None
    process.next_bytes = 2 * growth.gained
    return growth


def _report(process: Process, local: LocalTrace, reading: Reading, growth: Growth) -> None:
    pid, count, is_web = os.getpid(), process.trend.count, reading.is_of_request
    per_kib = growth.gained / growth.readings / 1024
    name, share = _most_of(process.gained_by)
    # Cycles of the application's objects that wait for the garbage collector look like a leak until it has been there.
    is_doubtful = gc.isenabled() and _full_collections() == process.full_collections
    is_first = process.said == 0
    process.said += 1
    limit = requests_until_replaced() if is_web else 0
    doubt = f"; the server replaces it after {limit} requests" if limit else ""
    doubt += "; it may be a cache that fills, or a long warm-up, unless it goes on" if is_first else ""
    doubt += "; some of it may be garbage, no full collection has run meanwhile" if is_doubtful else ""
    one, many, within = ("request", "requests", "requests of") if is_web else ("task", "tasks", "runs of")
    cause = f"most of it ({share:.0%}) in {within} {name}" if name else f"and not in the {within} one {_KINDS[one]}"
    finding = Finding(
        _TYPE,
        f"process {pid} has gained {growth.gained / _MIB:.0f} MiB over {growth.readings} {many}, {per_kib:.0f} KiB "
        f"a {one}, {cause}; it holds {reading.after / _MIB:.0f} MiB after {count} {many}{doubt}",
        _fix(name, is_web=is_web),
        None,
        {
            "pid": pid,
            many: count,
            "gained_mib": round(growth.gained / _MIB, 1),
            f"per_{one}_kib": round(per_kib, 1),
            "resident_mib": round(reading.after / _MIB, 1),
            **({"route" if is_web else "task": name, "share": round(share, 2)} if name else {}),
            **({"max_requests": limit} if limit else {}),
        },
        INFORMATION if is_doubtful or is_first else WARNING,
    )
    local.report(finding, _TYPE, local.root.span)


def _most_of(gained_by: dict[str, int]) -> tuple[str, float]:
    """The task whose runs gained most, and its share; no name where that is less than half."""
    total = sum([gained for gained in gained_by.values() if gained > 0])
    name = max(gained_by, key=lambda each: gained_by[each], default="")
    share = gained_by[name] / total if total > 0 else 0.0
    return (name, share) if share >= _MIN_SHARE else ("", 0.0)


def _fix(name: str, *, is_web: bool) -> str:
    stopgap = _RECYCLE_WORKERS if is_web else _RECYCLE_CHILDREN
    if _logs_queries():
        return f"set DEBUG = False in the worker: with it Django keeps the queries of every connection; {stopgap}"
    who, one = name or ("its views" if is_web else "its tasks"), "request" if is_web else "run"
    return (
        f"look at what {who} keeps from {one} to {one}: lists and dictionaries of a module or class, lru_cache without "
        f"a small maxsize, clients made anew for each {one}; {stopgap}"
    )


def _logs_queries() -> bool:
    """Whether Django keeps the queries of this thread's connections (`connection.queries`, by DEBUG)."""
    handler: Any = getattr(sys.modules.get("django.db"), "connections", None)
    if handler is None or "settings" not in vars(handler):
        return False
    return any(each.queries_logged and each.queries_log for each in handler.all(initialized_only=True))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_reset)

DETECTOR = Detector(
    _TYPE,
    doc="The memory of a worker grows and is not given back: of a Celery child from task to task, of a web server's"
    " worker (gunicorn, uvicorn) from request to request.",
    fix="Look at what the task or view keeps; `worker_max_memory_per_child` or `--max-requests` as a stopgap; `DEBUG ="
    " False`.",
    not_found="Garbage, one big allocation, caches that have filled; until it goes on, a warm-up or a cache that fills "
    "is only information; workers recycled before they have gained `memory_growth_threshold_mb`; eager runs; "
    "requests of the test client; systems without /proc.",
    on_task_end=_on_task_end,
    on_end=_on_end,
)
