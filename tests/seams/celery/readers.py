"""Tasks of test_consumers.py, for its own process (`app_of`) and for the worker (`celery worker -I`)."""

from __future__ import annotations

import os
from typing import Any

from celery.signals import worker_init

from tests.celery_site.app import make_app


def app_of(url: str, queue: str) -> Any:
    app = make_app(url, queue)
    declare(app, queue)
    return app


def declare(app: Any, queue: str) -> None:
    # A registry of its own for each test.
    if app.conf.broker_url.startswith("redis"):
        app.conf.broker_transport_options = {"global_keyprefix": f"{queue}."}

    @app.task(name="send on", shared=False)
    def send_on(to: str | None) -> None:
        app.send_task("add", (1, 2), queue=to)


if "CELERY_SITE_BROKER" in os.environ:
    from clew.seams.celery.consumers import registry as consumers_registry
    from tests.celery_site import app as site

    declare(site.app, os.environ["CELERY_SITE_QUEUE"])
    site.app.conf.worker_enable_remote_control = True
    consumers_registry._SAY_EVERY_SECONDS = 1

    @worker_init.connect
    def send_before_it_reads(**_: Any) -> None:
        if "READERS_SEND_FIRST" in os.environ:
            site.app.send_task("add", (1, 2))
