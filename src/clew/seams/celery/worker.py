"""No span of its own: it sees to it that the others' outlive the process they were made in.

A child of the prefork pool leaves by `os._exit`, without the SDK's exit handler, and takes the batch that waits for the
export with it (docs/upstream.md, celery 3; contrib #4916). We stand at `worker_process_shutdown`, which the child sends
before it tells the pool of its death, so that the pool waits for the flush and does not kill it, and at
`worker_shutdown`, for the process of the solo and threads pools. Metrics and logs are sent at the same time.

A child that is killed (SIGKILL, out of memory, the hard time limit) sends nothing any more. So spans wait half a second
for their export, not the SDK's five, from `worker_process_init` on; those of the main process and of beat, too, because
a run whose publish comes five seconds later looks like a run without one.

Beat inside a worker (`-B`) and a daemon close every file they have inherited, also those that gRPC waits with: it then
fails and logs for ever. We stand at `platforms.close_open_fds` to keep those, where clew exports by gRPC.
"""

from __future__ import annotations

import ctypes
import os
import re
import sys
from contextlib import suppress
from typing import Any

from clew.engine import flush
from clew.engine.exits import undisturbed
from clew.engine.flush import flush_before_exit
from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around
from clew.seams.celery.receivers import Receivers
from clew.spans import scope as spans

SCOPE = __name__
_SCHEDULE_DELAY = "OTEL_BSP_SCHEDULE_DELAY"
_PR_SET_PDEATHSIG = 1
_SOON_MS = 500
_FILES = "/proc/self/fd"
_POLLER, _EVENT = "anon_inode:[eventpoll]", "anon_inode:[eventfd]"
_EXPORTER = "opentelemetry.exporter.otlp.proto.grpc.exporter"
_WAIT = re.compile(r"tfd:\s*(\d+)\s+events:\s*([0-9a-f]+)\s+data:\s*([0-9a-f]+)")
# EPOLLIN, EPOLLERR, EPOLLHUP and EPOLLET.
_EDGE_TRIGGERED = 0x80000019
_MAX_NUMBER = 1 << 20


def _export_soon(**_: Any) -> None:
    pipeline = spans.pipeline()
    if pipeline is None or _SCHEDULE_DELAY in os.environ:
        return
    for queue in flush.queues:
        queue.export_every(_SOON_MS)


def _outlive_the_forking_thread() -> None:
    """Celery has the kernel kill a child when the thread that forked it ends.

    Where the broker has no event loop that is the pool's supervisor, which ends before the pool waits for its children.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)


def _child_leaves(**_: Any) -> None:
    pipeline = spans.pipeline()
    if pipeline is not None:
        _outlive_the_forking_thread()
        with undisturbed():
            flush_before_exit(pipeline.provider, is_last=True)


def _worker_leaves(**_: Any) -> None:
    pipeline = spans.pipeline()
    if pipeline is not None:
        flush_before_exit(pipeline.provider)


def _kept(keep: Any) -> Any:
    """What a daemon shall keep open, and what gRPC waits with; the same where clew does not export by it."""
    if spans.pipeline() is None or _EXPORTER not in sys.modules or not os.path.isdir(_FILES):
        return keep
    found = _files_of_grpc()
    return [*(keep or ()), *found] if found else keep


def _files_of_grpc() -> list[int]:
    """gRPC's pollers, each with the event it is woken by: nobody else waits for just that."""
    found = []
    for name in os.listdir(_FILES):
        with suppress(OSError):  # the one that lists them is closed by now
            if os.readlink(f"{_FILES}/{name}") == _POLLER and (woken := _woken_by(name)):
                found += [int(name), *woken]
    return found


def _woken_by(poller: str) -> list[int]:
    """The events gRPC has in a poller of its own: edge-triggered, and known by an address, not by their number."""
    with open(f"{_FILES}info/{poller}", encoding="ascii") as info:
        waits = _WAIT.findall(info.read())
    return [
        int(number)
        for number, kinds, data in waits
        if int(kinds, 16) == _EDGE_TRIGGERED and int(data, 16) > _MAX_NUMBER and _is_event(number)
    ]


def _is_event(number: str) -> bool:
    return os.readlink(f"{_FILES}/{number}") == _EVENT


def _install() -> None:
    process = sys.modules.get("billiard.process")
    if process is not None and process.current_process().name != "MainProcess":
        _export_soon()  # set up in `worker_process_init`: this child's signal is being sent


RECEIVERS = Receivers(
    SCOPE,
    worker_init=_export_soon,
    beat_init=_export_soon,
    beat_embedded_init=_export_soon,
    worker_process_init=_export_soon,
    worker_process_shutdown=_child_leaves,
    worker_shutdown=_worker_leaves,
)

SEAM = Seam(
    "celery.worker",
    patches=(*RECEIVERS.patches, Patch("celery.platforms", "close_open_fds", Around(change={"keep": _kept}))),
    on_install=_install,
    on_uninstall=RECEIVERS.disconnect,
)
