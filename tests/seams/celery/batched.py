"""Tasks of celery-batches, for test_batch.py and its worker (`celery worker -I`)."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery_batches import Batches


def declare(app: Any) -> None:
    options = {"base": Batches, "flush_every": 3, "flush_interval": 60, "shared": False}

    @app.task(name="batch", **options)
    def batch(requests: list[Any]) -> None:
        time.sleep(0.01)

    @app.task(name="broken batch", **options)
    def broken(requests: list[Any]) -> None:
        raise ValueError("password=hunter2")

    @app.task(name="killed batch", **options)
    def killed(requests: list[Any]) -> None:
        time.sleep(0.2)
        os.kill(os.getpid(), signal.SIGKILL)


if "CELERY_SITE_BROKER" in os.environ:
    from tests.celery_site import app as site

    declare(site.app)
