"""`worker start` with the `child start` of each process it forks, `worker stop`, `child exit`: traces of their own.

We stand at `WorkController`: its `__init__` is the earliest that every worker passes, a program's or an embedded one's.
An error leaves a worker that cannot start by the blueprint's `start`; one that can start sends `worker_ready` in
`Consumer.on_ready`, if it is a program's. `_send_worker_shutdown` is the last moment before the seam `worker` flushes,
`terminate` the end of a cold shutdown, which sends no signal. How it is asked to stop is said by
`worker_shutting_down`; a cold shutdown sends that when it has waited already, so we also stand at
`wait_for_soft_shutdown`, and at `on_hard_shutdown`, which sends none. The children of the prefork pool are made and
missed by billiard's pool: see `pool.py`.
"""

from __future__ import annotations

import sys
from typing import Any

from clew import attributes as names
from clew.engine.needs import functions
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.celery.lifecycle import pool as lifecycle_pool
from clew.seams.celery.lifecycle.worker import COLD, HARD, SOFT, WARM, State, WorkerLife
from clew.seams.celery.receivers import Receivers

SCOPE = __name__


def _life(worker: Any) -> WorkerLife | None:
    return State.lives.get(worker)


def _born(worker: Any, /) -> WorkerLife:
    life = State.lives[worker] = WorkerLife()
    return life


def _initialised(worker: Any, /, opened: WorkerLife, error: BaseException | None) -> None:
    if error is not None:
        opened.failed(worker, error)


def _started(parent: Any, error: BaseException | None) -> None:
    life = _life(parent) if error is not None else None
    if life is not None and error is not None:
        life.failed(parent, error)


def _ready(consumer: Any, /, error: BaseException | None) -> None:
    worker = consumer.controller
    life = _life(worker) if worker is not None else None
    if life is not None:
        life.ready(worker)


def _shutting_down(sender: Any, sig: Any = None, how: Any = "", **_: Any) -> None:
    for worker, life in list(State.lives.items()):
        if worker.hostname == sender:
            life.step(_how(life, how), sig)


def _how(life: WorkerLife, how: Any) -> str:
    if how != "Cold":
        return WARM
    # The first comes when the soft shutdown is over; one that comes in the middle of it is a second signal's.
    return SOFT if life.last_step == SOFT and not life.is_waiting else COLD


def _soften(worker: Any, /) -> WorkerLife | None:
    life, conf = _life(worker), worker.app.conf
    is_busy = conf.worker_enable_soft_shutdown_on_idle or bool(sys.modules["celery.worker.state"].active_requests)
    if life is not None:
        life.is_waiting = conf.worker_soft_shutdown_timeout > 0 and is_busy
        life.step(SOFT if life.is_waiting else COLD)
    return life


def _end_of_wait(opened: WorkerLife) -> None:
    opened.is_waiting = False


def _force(worker: Any) -> None:
    life = _life(worker)
    if life is not None:
        life.step(HARD)


def _begin(worker: Any, /) -> None:
    life = _life(worker)
    if life is not None and life.last_step is None:
        life.step(WARM)


def _begin_cold(worker: Any, /) -> WorkerLife | None:
    life = _life(worker)
    if life is not None and life.last_step in (None, WARM):
        life.step(COLD)
    return life


def _terminated(worker: Any, /, opened: WorkerLife) -> None:
    opened.stopped(worker)


def _stopped(worker: Any, /) -> None:
    life = _life(worker)
    if life is not None:
        life.stopped(worker)


def _uninstall() -> None:
    RECEIVERS.disconnect()
    State.lives.clear()
    lifecycle_pool.reset()


RECEIVERS = Receivers(SCOPE, worker_shutting_down=_shutting_down)

_WORKER = "celery.worker.worker"

SEAM = Seam(
    "celery.lifecycle",
    patches=(
        *RECEIVERS.patches,
        Patch(_WORKER, "WorkController.__init__", Around(_born, close=_initialised)),
        Patch(_WORKER, "WorkController.Blueprint.start", Around(note=_started)),
        Patch(_WORKER, "WorkController.stop", Around(_begin)),
        Patch(_WORKER, "WorkController._send_worker_shutdown", Around(_stopped)),
        Patch(_WORKER, "WorkController.terminate", Around(_begin_cold, close=_terminated)),
        Patch(_WORKER, "WorkController.wait_for_soft_shutdown", Around(_soften, close=_end_of_wait), since="5.5"),
        Patch("celery.worker.consumer.consumer", "Consumer.on_ready", Around(note=_ready)),
        Patch("celery.apps.worker", "on_hard_shutdown", Around(_force), since="5.5"),
        *lifecycle_pool.PATCHES,
    ),
    spans=(
        SpanDoc(
            "worker start",
            "INTERNAL",
            "a worker, from its first object until it reads its queues, or cannot",
            (
                *(names.CELERY_HOSTNAME, names.CELERY_VERSION, names.CELERY_WORKER_OUTCOME, names.CELERY_WORKER_POOL),
                *(names.CELERY_WORKER_CONCURRENCY, names.CELERY_WORKER_AUTOSCALE, names.CELERY_WORKER_QUEUES),
                *(names.CELERY_WORKER_PREFETCH_MULTIPLIER, names.CELERY_WORKER_TASK_COUNT),
                *(names.CELERY_WORKER_MAX_TASKS, names.CELERY_WORKER_MAX_MEMORY_KB, names.MESSAGING_SYSTEM),
                *(names.SERVER_ADDRESS, names.SERVER_PORT),
            ),
        ),
        SpanDoc(
            "worker stop",
            "INTERNAL",
            "a worker's shutdown, from the first time it is asked for until its pool is gone",
            (
                *(names.CELERY_HOSTNAME, names.CELERY_SHUTDOWN, names.CELERY_SHUTDOWN_STEPS),
                *(names.CELERY_SHUTDOWN_SIGNALS, names.CELERY_SHUTDOWN_RUNNING_COUNT),
                *(names.CELERY_SHUTDOWN_RESTORED_COUNT, names.CELERY_SHUTDOWN_EXIT_CODE),
            ),
        ),
        SpanDoc(
            "child start",
            "INTERNAL",
            "a process of the prefork pool, from its fork until worker_process_init is done, below `worker start`; "
            "one that comes later is a trace of its own, if it fails or `detail` is all",
            (names.CELERY_HOSTNAME, names.CELERY_CHILD_PID),
        ),
        SpanDoc(
            "child exit",
            "INTERNAL",
            "a process of the prefork pool, from the fork until the worker misses it; not of one that is recycled, "
            "dismissed or shut down as planned, unless `detail` is all",
            (
                *(names.CELERY_HOSTNAME, names.CELERY_CHILD_PID, names.CELERY_CHILD_EXIT_REASON),
                *(names.CELERY_CHILD_EXIT_CODE, names.CELERY_CHILD_SIGNAL, names.CELERY_CHILD_TASK_COUNT),
                names.CELERY_CHILD_MAX_RSS_BYTES,
            ),
        ),
    ),
    on_uninstall=_uninstall,
    needs=(*lifecycle_pool.NEEDS, *functions("celery.worker.state", "active_requests", "requests")),
)
