"""Tasks of test_time_limit.py: nearly all of their time is spent in clew's code."""

from __future__ import annotations

import logging
import os
import time
from pathlib import Path
from typing import Any

from celery.exceptions import SoftTimeLimitExceeded
from kombu.exceptions import EncodeError

logger = logging.getLogger("limits")
logger.propagate = False
logger.addHandler(logging.NullHandler())


def declare(app: Any) -> None:
    @app.task(name="logs", soft_time_limit=0.3, shared=False)
    def logs(folder: str, number: int) -> None:
        try:
            _log_rows(time.monotonic() + 1.5)
        except SoftTimeLimitExceeded:
            Path(folder, f"limit-{number}").touch()

    @app.task(name="sends", soft_time_limit=0.3, shared=False)
    def sends(folder: str, number: int) -> None:
        try:
            _send(app, time.monotonic() + 1.5)
        except SoftTimeLimitExceeded:
            Path(folder, f"limit-{number}").touch()
        except EncodeError as error:  # kombu's, for whatever strikes while it encodes
            if not isinstance(error.args[0], SoftTimeLimitExceeded):
                raise
            Path(folder, f"limit-{number}").touch()


# Loops of their own: Python's compiler leaves the jump back to a loop's begin out of the `try` around it.
def _log_rows(until: float) -> None:
    while time.monotonic() < until:
        try:
            raise ValueError("a row")
        except ValueError:
            logger.exception("a row could not be read")


def _send(app: Any, until: float) -> None:
    while time.monotonic() < until:
        app.send_task("nobody.knows", queue=f"{app.conf.task_default_queue}.nobody", expires=5)


if "CELERY_SITE_BROKER" in os.environ:
    from tests.celery_site import app as site

    declare(site.app)
