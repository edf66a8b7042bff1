"""Tasks of test_all_fates.py beside those of fates.py, for its own process (`declare`) and for the worker (`-I`)."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import celery
from celery.exceptions import Reject
from celery.signals import task_postrun
from opentelemetry import trace

from tests.seams.celery import fates


def declare(app: Any) -> None:
    fates.declare(app)
    queue = app.conf.task_default_queue
    if app.conf.broker_url.startswith("redis"):
        # Of its own: what is restored here must be this worker's, and others use this Redis as well.
        keys = ("unacked_key", "unacked_index_key", "unacked_mutex_key")
        app.conf.broker_transport_options = {key: f"{queue}-{key}" for key in keys}
    _attempts(app)
    _dying(app)
    _delivered_again(app)

    @app.task(name="errback", shared=False)
    def errback(task_id: str) -> None:
        pass

    @app.task(name="reject once", bind=True, acks_late=True, shared=False)
    def reject_once(self: Any) -> None:
        if not self.request.delivery_info["redelivered"]:
            raise Reject("later", requeue=True)

    @app.task(name="coroutine", ignore_result=True, shared=False)
    async def coroutine() -> None:
        pass


def _attempts(app: Any) -> None:
    options = {"autoretry_for": (ValueError,), "retry_backoff": 1, "retry_jitter": False, "max_retries": 1}

    @app.task(name="auto", bind=True, shared=False, **options)
    def auto(self: Any) -> None:
        if not self.request.retries:
            raise ValueError("not yet")


def _dying(app: Any) -> None:
    more = {"retry_on_worker_lost": True} if celery.VERSION >= (5, 7) else {}

    @app.task(name="killed and retried", bind=True, default_retry_delay=0, shared=False, **more)
    def killed_and_retried(self: Any) -> None:
        time.sleep(0.2)
        if not self.request.retries:
            os.kill(os.getpid(), signal.SIGKILL)

    @app.task(name="kept", shared=False)
    def kept() -> None:
        with trace.get_tracer("user").start_as_current_span("user work"):
            pass
        time.sleep(1)  # until it is exported
        os.kill(os.getpid(), signal.SIGKILL)

    @app.task(name="killed after", shared=False)
    def killed_after() -> None:
        time.sleep(0.2)

    @app.task(name="hang late", acks_late=True, shared=False)
    def hang_late(started: str) -> None:
        time.sleep(0.5)
        Path(started).touch()
        time.sleep(60)


def _delivered_again(app: Any) -> None:
    @app.task(name="long", acks_late=True, bind=True, shared=False)
    def long(self: Any, folder: str) -> None:
        """Lasts until it has been delivered again."""
        first, second = Path(folder, "first"), Path(folder, "second")
        if first.exists():
            second.touch()
            return
        first.touch()
        until = time.monotonic() + 30
        while not second.exists() and time.monotonic() < until:
            time.sleep(0.05)


if "CELERY_SITE_BROKER" in os.environ:
    from tests.celery_site import app as site

    declare(site.app)

    @task_postrun.connect
    def die_after(task: Any, **_: Any) -> None:
        """The run is over, clew's own receiver came first, and nobody has reported it."""
        if task.name == "killed after":
            os.kill(os.getpid(), signal.SIGKILL)
