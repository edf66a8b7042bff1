"""Where the children of the prefork pool are made and missed, for the seam `lifecycle`.

billiard's pool forks a child in `_create_worker_process`, sets it up in `Worker.after_fork`, and misses it in
`_join_exited_workers`; those that are left at the end it only joins, so we also stand at the ends of Celery's pool. Why
it died is known where it is killed (`_trywaitkill` is the hard time limit's alone), and how much memory it had is told
by the kernel with its status: billiard asks by `waitpid`, which drops that, and we by `wait4`.
"""

from __future__ import annotations

import os
import sys
from time import time_ns
from typing import Any

from clew.engine.needs import attributes, functions
from clew.engine.seam import Patch
from clew.engine.wrapper import Around
from clew.seams.celery.lifecycle import child as children

_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


def _fork() -> int:
    # The child inherits it, and tells its start from there.
    children.State.forking_ns = time_ns()
    return children.State.forking_ns


def _forked(pool: Any, /, opened: int, result: Any) -> None:
    children.forked(pool, result, opened)


def _poll(popen: Any, /, flag: int) -> Any:
    child = children.child_of(popen.pid) if popen.returncode is None else None
    if child is None:
        return NotImplemented
    try:
        pid, status, usage = os.wait4(popen.pid, flag)
    except OSError:
        return NotImplemented
    if pid == popen.pid:
        popen.returncode = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        child.max_rss_bytes = usage.ru_maxrss * _RSS_UNIT_BYTES
    return popen.returncode


def _kill(worker: Any) -> None:
    child = children.child_of(worker.pid)
    if child is not None:
        child.is_timed_out = True


def _joined(pool: Any, /, error: BaseException | None) -> None:
    children.report_exits(pool)


# What Celery's pool has at its end is billiard's; stopped, it has none any more.
_END = Around(lambda pool, /: pool._pool, close=lambda opened: children.report_exits(opened, is_over=True))


def reset() -> None:
    """Forget the children."""
    children.State.children.clear()


_POOL = "billiard.pool"
_TASK_POOL = "celery.concurrency.prefork"

PATCHES = (
    Patch(_POOL, "Pool._create_worker_process", Around(_fork, _forked, close=lambda: None)),
    Patch(_POOL, "Worker.after_fork", Around(note=children.report_start)),
    Patch(_POOL, "TimeoutHandler._trywaitkill", Around(_kill)),
    Patch(_POOL, "Pool._join_exited_workers", Around(note=_joined)),
    Patch("billiard.popen_fork", "Popen.poll", Around(instead=_poll)),
    Patch(_TASK_POOL, "TaskPool.restart", Around(lambda pool, /: children.restarting(pool._pool))),
    Patch(_TASK_POOL, "TaskPool.on_stop", _END),
    Patch(_TASK_POOL, "TaskPool.on_terminate", _END),
)

NEEDS = (
    *attributes(
        _POOL, "Pool", "_pool", "_state", "_initializer", "_initargs", "_maxtasksperchild", "_on_ready_counters"
    ),
    *functions(_POOL, "RUN", "EX_RECYCLE"),
    *attributes(_TASK_POOL, "TaskPool", "_pool"),
)
