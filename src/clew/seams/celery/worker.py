"""No span of its own: it sees to it that the others' outlive the process they were made in.

A child of the prefork pool leaves by `os._exit`, without the SDK's exit handler, and takes the batch that waits for the
export with it (upstream-defects, celery 3; contrib #4916). We stand at `worker_process_shutdown`, which the child sends
before it tells the pool of its death, so that the pool waits for the flush and does not kill it, and at
`worker_shutdown`, for the process of the solo and threads pools. Metrics and logs are sent at the same time.

A child that is killed (SIGKILL, out of memory, the hard time limit) sends nothing any more. So from
`worker_process_init` on its spans wait half a second for their export, not the SDK's five.
"""

from __future__ import annotations

import ctypes
import os
import sys
from typing import Any

from clew.core import spans
from clew.core.flush import batches, flush_before_exit, undisturbed
from clew.core.seam import Seam
from clew.seams.celery.receivers import Receivers

SCOPE = __name__
_SCHEDULE_DELAY = "OTEL_BSP_SCHEDULE_DELAY"
_PR_SET_PDEATHSIG = 1
_SDK_SECONDS, _CHILD_SECONDS = 5.0, 0.5


def _child_starts(**_: Any) -> None:
    pipeline = spans.pipeline()
    if pipeline is None or _SCHEDULE_DELAY in os.environ:
        return
    for batch in batches(pipeline.provider):
        if getattr(batch, "_schedule_delay", None) == _SDK_SECONDS:
            SEAM.patch_attribute(batch, "_schedule_delay", lambda _: _CHILD_SECONDS)
            batch._worker_awaken.set()  # it sleeps for the longer time now


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


def _install() -> None:
    process = sys.modules.get("billiard.process")
    if process is not None and process.current_process()._name != "MainProcess":
        _child_starts()  # set up in `worker_process_init`: this child's signal is being sent


RECEIVERS = Receivers(
    SCOPE,
    worker_process_init=_child_starts,
    worker_process_shutdown=_child_leaves,
    worker_shutdown=_worker_leaves,
)

SEAM = Seam("celery.worker", patches=RECEIVERS.patches, on_install=_install, on_uninstall=RECEIVERS.disconnect)
