"""A small Celery app, for the test's own process (`make_app`) and for real workers (`app`, told by the environment)."""

from __future__ import annotations

import os
import sys
import time
from typing import Any

from celery import Celery, Task, chord
from celery.exceptions import Ignore, Reject
from celery.signals import worker_process_init
from opentelemetry import baggage, context, trace

import clew
from clew.cli.demo_site import folder_broker


class ExpectedError(Exception):
    """One of the `throws` of a task."""


def make_app(
    broker: str = "memory://", queue: str = "celery", backend: str | None = None, folder: object = "", **conf: Any
) -> Celery:
    """An app of its own, with the tasks below."""
    app = Celery("site", broker=broker, backend=backend, set_as_current=False)
    app.conf.update(
        task_default_queue=queue,
        task_ignore_result=backend is None,
        worker_prefetch_multiplier=1,
        worker_enable_remote_control=False,
        broker_connection_retry_on_startup=True,
        result_chord_retry_interval=0.1,
        **conf,
    )
    if broker.startswith("memory"):
        app.conf.broker_transport_options = {"polling_interval": 0.01}
    if broker.startswith("filesystem"):
        folder_broker.install()
        app.conf.broker_transport_options = {
            "data_folder_in": f"{folder}/messages",
            "data_folder_out": f"{folder}/messages",
            "control_folder": f"{folder}/control",
            "polling_interval": 0.05,
        }
    if backend:
        # Every key of the results has the queue's name in it, so that a test can take them away.
        app.conf.result_backend_transport_options = {"global_keyprefix": queue}
    for declare in (_plain_tasks, _context_tasks, _ending_tasks, _canvas_tasks):
        declare(app)
    return app


def _plain_tasks(app: Celery) -> None:
    @app.task(name="add", shared=False)
    def add(left: int, right: int) -> int:
        return left + right

    @app.task(name="nap", shared=False)
    def nap(seconds: float) -> None:
        time.sleep(seconds)

    @app.task(name="child", shared=False)
    def child() -> None:
        with trace.get_tracer("user").start_as_current_span("user work"):
            pass

    @app.task(name="baggage", shared=False)
    def see_baggage() -> None:
        trace.get_current_span().set_attribute("seen", str(baggage.get_baggage("customer")))


def _context_tasks(app: Celery) -> None:
    app.noted = []

    @app.task(name="note", shared=False)
    def note() -> None:
        app.noted.append(trace.get_current_span())

    @app.task(name="leak", shared=False)
    def leak() -> None:
        context.attach(trace.set_span_in_context(trace.get_tracer("user").start_span("never ended")))


def _ending_tasks(app: Celery) -> None:
    @app.task(name="fail", shared=False)
    def fail() -> None:
        raise ValueError("password=hunter2")

    @app.task(name="expected", throws=(ExpectedError,), shared=False)
    def expected() -> None:
        raise ExpectedError("not today")

    @app.task(name="ignore", shared=False)
    def ignore() -> None:
        raise Ignore

    @app.task(name="reject", shared=False)
    def reject() -> None:
        raise Reject(KeyError("bad"), requeue=False)

    @app.task(name="leave", shared=False)
    def leave() -> None:
        sys.exit(3)

    @app.task(name="soft", soft_time_limit=1, shared=False)
    def soft() -> None:
        time.sleep(30)

    @app.task(name="again", bind=True, max_retries=2, shared=False)
    def again(self: Task[Any, Any], times: int) -> None:
        if self.request.retries < times:
            raise self.retry(exc=ValueError("token=abc123"), countdown=0)


def _canvas_tasks(app: Celery) -> None:
    @app.task(name="total", shared=False)
    def total(numbers: list[int]) -> int:
        return sum(numbers)

    @app.task(name="fan out", shared=False)
    def fan_out() -> None:
        add = app.tasks["add"]
        chord([add.s(1, 1), add.s(2, 2)], app.tasks["total"].s(), app=app).delay()

    @app.task(name="outer", shared=False)
    def outer() -> None:
        app.send_task("add", (1, 2))


if "CELERY_SITE_BROKER" in os.environ:
    app = make_app(
        os.environ["CELERY_SITE_BROKER"],
        os.environ["CELERY_SITE_QUEUE"],
        os.environ.get("CELERY_SITE_BACKEND"),
        os.environ["CELERY_SITE_FOLDER"],
    )

if os.environ.get("CELERY_SITE_SETUP") == "worker_process_init":

    @worker_process_init.connect
    def set_up(**_: Any) -> None:
        clew.setup_tracing()
