"""Tasks of test_fate.py that end badly, for its own process (`declare`) and for the worker (`celery worker -I`)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any


def declare(app: Any) -> None:
    # The test revokes, and a worker's own time is short.
    app.conf.update(worker_enable_remote_control=True, control_queue_expires=60)
    _dying_tasks(app)

    @app.task(name="hang", shared=False)
    def hang(started: str, more_s: float = 60) -> None:
        time.sleep(0.5)  # until the main process knows, too
        Path(started).touch()
        time.sleep(more_s)

    @app.task(name="hard", time_limit=1, shared=False)
    def hard() -> None:
        time.sleep(60)


def _dying_tasks(app: Any) -> None:
    # Not at once: a job whose start the main process has not heard of goes to another child, and nothing is lost.
    @app.task(name="killed", shared=False)
    def killed() -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)

    @app.task(name="gone", shared=False)
    def gone() -> None:
        time.sleep(0.2)
        os._exit(7)

    @app.task(name="killed once", acks_late=True, reject_on_worker_lost=True, shared=False)
    def killed_once(before: str) -> None:
        if not Path(before).exists():
            Path(before).touch()
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)


if "CELERY_SITE_BROKER" in os.environ:
    from tests.celery_site import app as site

    declare(site.app)
