"""Tasks that end in every way a run can tell itself, for a test's own process and for a worker (`celery worker -I`)."""

from __future__ import annotations

import os
from typing import Any

from celery.exceptions import Reject


def declare(app: Any) -> None:
    _retrying_tasks(app)
    _replaced_tasks(app)

    @app.task(name="sends itself", shared=False)
    def sends_itself(times: int = 1) -> None:
        if times:
            app.tasks["sends itself"].delay(times - 1)

    @app.task(name="passes headers on", bind=True, shared=False)
    def passes_headers_on(self: Any, *args: Any) -> None:
        if not self.request.retries:
            raise self.retry(countdown=0.01)
        app.tasks["add"].apply_async((1, 2), headers=self.request.headers)

    @app.task(name="requeued", bind=True, acks_late=True, shared=False)
    def requeued(self: Any) -> None:
        if not self.request.delivery_info["redelivered"]:
            raise Reject("busy", requeue=True)


def _retrying_tasks(app: Any) -> None:
    @app.task(name="manual", bind=True, max_retries=1, default_retry_delay=0.01, shared=False)
    def manual(self: Any) -> None:
        raise self.retry()

    @app.task(name="manual with exc", bind=True, max_retries=1, shared=False)
    def manual_with_exc(self: Any) -> None:
        raise self.retry(exc=KeyError("why"), countdown=0.01)

    @app.task(name="automatic", autoretry_for=(ConnectionError,), max_retries=2, default_retry_delay=0.01, shared=False)
    def automatic() -> None:
        raise ConnectionError("down")

    @app.task(
        name="backing off",
        bind=True,
        autoretry_for=(ConnectionError,),
        retry_backoff=1,
        retry_backoff_max=1,
        retry_jitter=False,
        shared=False,
    )
    def backing_off(self: Any) -> None:
        if not self.request.retries:
            raise ConnectionError("down")

    @app.task(name="endless", bind=True, max_retries=None, shared=False)
    def endless(self: Any) -> None:
        if not self.request.retries:
            raise self.retry(countdown=0.01)


def _replaced_tasks(app: Any) -> None:
    @app.task(name="replaced", bind=True, shared=False)
    def replaced(self: Any, number: int) -> Any:
        return self.replace(app.tasks["add"].s(number, 1))

    @app.task(name="replaced by a group", bind=True, shared=False)
    def replaced_by_a_group(self: Any) -> Any:
        from celery import group

        return self.replace(group([app.tasks["add"].s(number, 1) for number in range(2)], app=app))

    @app.task(name="errback by id", shared=False)
    def errback_by_id(task_id: str) -> None:
        pass

    @app.task(name="errback", shared=False)
    def errback(*args: Any) -> None:
        pass


if "CELERY_SITE_BROKER" in os.environ:
    from tests.celery_site import app as site

    declare(site.app)
