"""`memory_growth`: the memory of a worker's child grows from task to task and is not given back.

We stand at the end of every run, where the seam celery.memory has the process' resident memory, and keep the lowest
readings over the child's life (see memory_trend.py): warm-up, garbage, one big allocation, and caches that have filled
are left alone. Said on the run at which it is certain and `memory_growth_threshold_mb` are gained, and again when it
has doubled; it names the task in whose runs most of the growth came. A cache larger than the threshold looks the same
while it fills, and so does a long warm-up: at first it is information, and a warning when it goes on. Reported though
it may be meant: a cache that fills evenly to twice the threshold. Garbage that waits for its first full collection is
information, too.
Not found: leaks of children that are recycled before they have gained that much; eager runs; systems without /proc.
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
from clew.story.memory import Reading
from clew.story.task_run import TaskRun

_TYPE = "memory_growth"
_MAX_TASKS = 200
_MIB = 1 << 20
_MIN_SHARE = 0.5


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


_process = Process()


def _forget() -> None:
    """Begin anew: a child is another process."""
    global _process
    _process = Process()


def _on_task_end(run: TaskRun) -> None:
    reading = memory.READING.get(run.local)
    limit = configuration.settings.memory_growth_threshold_mb
    if reading is None or not limit or run.is_eager:
        return
    process = _process
    # Two threads of one pool: one of many readings may be missed, but nobody waits.
    if not process.lock.acquire(blocking=False):
        return
    try:
        growth = _take(process, run, reading, max(int(limit * _MIB), process.next_bytes))
    finally:
        process.lock.release()
    if growth is not None:
        _report(process, run, reading, growth)


def _take(process: Process, run: TaskRun, reading: Reading, least_bytes: int) -> Growth | None:
    trend, gained_by, name = process.trend, process.gained_by, run.task_name
    after = reading.after
    if trend.count >= WARM_UP and (name in gained_by or len(gained_by) < _MAX_TASKS):
        gained_by[name] = gained_by.get(name, 0) + after - reading.before
    if not trend.add(after) or trend.risen < least_bytes:
        return None
    growth = trend.growth()
    if growth is None or growth.gained < least_bytes:
        return None
    process.next_bytes = 2 * growth.gained
    return growth


def _report(process: Process, run: TaskRun, reading: Reading, growth: Growth) -> None:
    pid, count = os.getpid(), process.trend.count
    per_task_kib = growth.gained / growth.readings / 1024
    name, share = _most_of(process.gained_by)
    # Cycles of the application's objects that wait for the garbage collector look like a leak until it has been there.
    is_doubtful = gc.isenabled() and _full_collections() == process.full_collections
    is_first = process.said == 0
    process.said += 1
    doubt = "; it may be a cache that fills, or a long warm-up, unless it goes on" if is_first else ""
    doubt += "; some of it may be garbage, no full collection has run meanwhile" if is_doubtful else ""
    cause = f"most of it ({share:.0%}) in runs of {name}" if name else "and not in the runs of one task"
    finding = Finding(
        _TYPE,
        f"process {pid} has gained {growth.gained / _MIB:.0f} MiB over {growth.readings} tasks, {per_task_kib:.0f} KiB "
        f"a task, {cause}; it holds {reading.after / _MIB:.0f} MiB after {count} tasks{doubt}",
        _fix(name),
        None,
        {
            "pid": pid,
            "tasks": count,
            "gained_mib": round(growth.gained / _MIB, 1),
            "per_task_kib": round(per_task_kib, 1),
            "resident_mib": round(reading.after / _MIB, 1),
            **({"task": name, "share": round(share, 2)} if name else {}),
        },
        INFORMATION if is_doubtful or is_first else WARNING,
    )
    run.local.report(finding, _TYPE, run.local.root.span)


def _most_of(gained_by: dict[str, int]) -> tuple[str, float]:
    """The task whose runs gained most, and its share; no name where that is less than half."""
    total = sum([gained for gained in gained_by.values() if gained > 0])
    name = max(gained_by, key=lambda each: gained_by[each], default="")
    share = gained_by[name] / total if total > 0 else 0.0
    return (name, share) if share >= _MIN_SHARE else ("", 0.0)


def _fix(name: str) -> str:
    stopgap = "worker_max_memory_per_child (or worker_max_tasks_per_child) keeps it in bounds meanwhile"
    if _logs_queries():
        return f"set DEBUG = False in the worker: with it Django keeps the queries of every connection; {stopgap}"
    who = name or "its tasks"
    return (
        f"look at what {who} keeps from run to run: lists and dictionaries of a module or class, lru_cache without a "
        f"small maxsize, clients made anew for each run; {stopgap}"
    )


def _logs_queries() -> bool:
    """Whether Django keeps the queries of this thread's connections (`connection.queries`, by DEBUG)."""
    handler: Any = getattr(sys.modules.get("django.db"), "connections", None)
    if handler is None or "settings" not in vars(handler):
        return False
    return any(each.queries_logged and each.queries_log for each in handler.all(initialized_only=True))


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)

DETECTOR = Detector(
    _TYPE,
    doc="The memory of a worker's child grows from task to task and is not given back.",
    fix="Look at what the task keeps from run to run; `worker_max_memory_per_child` as a stopgap; `DEBUG = False`.",
    not_found="Garbage, one big allocation, caches that have filled; until it goes on, a warm-up or a cache that fills "
    "is only information; children recycled before they have gained `memory_growth_threshold_mb`; eager runs; systems "
    "without /proc.",
    on_task_end=_on_task_end,
)
