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

from clew.engine.seam import Patch, like
from clew.seams.celery import lifecycle_child as children
from clew.seams.celery.lifecycle_worker import guarded

_RSS_UNIT_BYTES = 1 if sys.platform == "darwin" else 1024


def _creating(original: Any) -> Any:
    def _create_worker_process(pool: Any, i: int) -> Any:
        # The child inherits it, and tells its start from there.
        children.State.forking_ns = started_ns = time_ns()
        process = original(pool, i)
        guarded(children.forked, pool, process, started_ns)
        return process

    return like(original, _create_worker_process)


def _initialising_child(original: Any) -> Any:
    def after_fork(self: Any) -> Any:
        error = None
        try:
            return original(self)
        except BaseException as raised:
            error = raised
            raise
        finally:
            guarded(children.tell_start, self, error)
            del error

    return like(original, after_fork)


def _polling(original: Any) -> Any:
    def poll(self: Any, flag: int = os.WNOHANG) -> Any:
        child = children.of(self.pid) if self.returncode is None else None
        if child is None:
            return original(self, flag)
        try:
            pid, status, usage = os.wait4(self.pid, flag)
        except OSError:
            return original(self, flag)
        if pid == self.pid:
            child.max_rss_bytes = usage.ru_maxrss * _RSS_UNIT_BYTES
            self.returncode = -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)
        return self.returncode

    return like(original, poll)


def _killing(original: Any) -> Any:
    def _trywaitkill(handler: Any, worker: Any) -> Any:
        guarded(_note_time_limit, worker)
        return original(handler, worker)

    return like(original, _trywaitkill)


def _note_time_limit(process: Any) -> None:
    child = children.of(process.pid)
    if child is not None:
        child.is_timed_out = True


def _joining(original: Any) -> Any:
    def _join_exited_workers(pool: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return original(pool, *args, **kwargs)
        finally:
            guarded(children.tell_exits, pool)

    return like(original, _join_exited_workers)


def _ending(original: Any) -> Any:
    def end(task_pool: Any) -> Any:
        pool = task_pool._pool
        try:
            return original(task_pool)
        finally:
            if pool is not None:
                guarded(children.tell_exits, pool, True)

    return like(original, end)


def forget() -> None:
    """Forget the children."""
    children.State.children.clear()


_POOL = "billiard.pool"
_TASK_POOL = "celery.concurrency.prefork"

PATCHES = (
    Patch(_POOL, "Pool._create_worker_process", _creating),
    Patch(_POOL, "Worker.after_fork", _initialising_child),
    Patch(_POOL, "TimeoutHandler._trywaitkill", _killing),
    Patch(_POOL, "Pool._join_exited_workers", _joining),
    Patch("billiard.popen_fork", "Popen.poll", _polling),
    Patch(_TASK_POOL, "TaskPool.on_stop", _ending),
    Patch(_TASK_POOL, "TaskPool.on_terminate", _ending),
)
