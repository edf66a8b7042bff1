"""No span of its own: it sees to it that the others' outlive the process they were made in.

A child of the prefork pool leaves by `os._exit`, without the SDK's exit handler, and takes the batch that waits for the
export with it (upstream-defects, celery 3; contrib #4916). We stand at `worker_process_shutdown`, which the child sends
before it tells the pool of its death, so that the pool waits for the flush and does not kill it, and at
`worker_shutdown`, for the process of the solo and threads pools. Both wait `flush_timeout_ms` at most.
"""

from __future__ import annotations

from typing import Any

from clew.core import configuration, spans
from clew.core.flush import flush_before_exit
from clew.core.seam import Seam
from clew.seams.celery.receivers import Receivers

SCOPE = __name__


def _flush(**_: Any) -> None:
    pipeline = spans.pipeline()
    if pipeline is not None:
        flush_before_exit(pipeline.provider, configuration.settings.flush_timeout_ms)


RECEIVERS = Receivers(SCOPE, worker_process_shutdown=_flush, worker_shutdown=_flush)

SEAM = Seam("celery.worker", patches=RECEIVERS.patches, on_uninstall=RECEIVERS.disconnect)
