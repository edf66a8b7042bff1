"""Tasks that go wrong quietly, for a test's own process (`declare`) and for a real worker (`celery worker -I`)."""

from __future__ import annotations

import logging
import os
import time
from typing import Any

logger = logging.getLogger("shop")
kept: list[bytearray] = []


def declare(app: Any) -> None:
    _logging_tasks(app)
    _remembering_tasks(app)

    @app.task(name="coroutine", shared=False)
    async def coroutine() -> int:
        return 1

    @app.task(name="async_generator", shared=False)
    async def async_generator() -> Any:
        yield 1

    @app.task(name="late", acks_late=True, shared=False)
    def late(until: str) -> None:
        end = time.monotonic() + 60
        while not os.path.exists(until) and time.monotonic() < end:
            time.sleep(0.02)


def _logging_tasks(app: Any) -> None:
    @app.task(name="logs", shared=False)
    def logs(times: int = 1) -> str:
        for _ in range(times):
            try:
                fetch()
            except ValueError:
                logger.exception("could not fetch")
        return "done"

    @app.task(name="logs_and_fails", shared=False)
    def logs_and_fails() -> None:
        try:
            fetch()
        except ValueError:
            logger.exception("could not fetch")
            raise

    @app.task(name="logs_and_retries", bind=True, shared=False)
    def logs_and_retries(self: Any) -> None:
        if not self.request.retries:
            try:
                fetch()
            except ValueError as error:
                logger.exception("could not fetch")
                raise self.retry(countdown=0) from error


def fetch() -> None:
    raise ValueError("password=hunter2 is wrong")


def _remembering_tasks(app: Any) -> None:
    @app.task(name="leaks", shared=False)
    def leaks() -> None:
        kept.append(_touched(512 * 1024))

    @app.task(name="fills_a_cache", shared=False)
    def fills_a_cache() -> None:
        if len(kept) < 40:
            kept.append(_touched(1024 * 1024))

    @app.task(name="forgets", shared=False)
    def forgets() -> int:
        return len(_touched(4 * 1024 * 1024))


def _touched(size: int) -> bytearray:
    """Memory that is really there: of zeros the system would give pages only when they are written."""
    return bytearray(b"x") * size


def visibility(timeout: int, queue: str) -> dict[str, Any]:
    """Options of Redis' transport: a short timeout, and what is unacknowledged kept apart from other tests'."""
    return {
        "visibility_timeout": timeout,
        "unacked_key": f"unacked-{queue}",
        "unacked_index_key": f"unacked-index-{queue}",
        "unacked_mutex_key": f"unacked-mutex-{queue}",
    }


if "CELERY_SITE_BROKER" in os.environ:
    from tests.celery_site import app as site

    declare(site.app)
    if timeout := os.environ.get("CELERY_SITE_VISIBILITY_TIMEOUT"):
        site.app.conf.broker_transport_options = visibility(int(timeout), site.app.conf.task_default_queue)
