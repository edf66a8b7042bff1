"""A thousand tasks through children that are recycled all the time, and a restart: each has its run span, once."""

from __future__ import annotations

import contextlib
import time
import uuid
from pathlib import Path
from typing import Any

import pytest
from celery import Celery
from kombu import pools

from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.celery_site.worker import DEADLINE, Gathered, Receiver, Worker
from tests.seams.celery.test_worker import (
    URLS,
    _clean_up,
    finished,
    wait_for_finished,
)
from tests.services import require

pytestmark = pytest.mark.slow
TASKS = 1000
BEFORE_THE_RESTART = 400
RECYCLED = ("-P", "prefork", "-c", "2", "--max-tasks-per-child", "7", "--prefetch-multiplier", "4")


def publish(app: Celery) -> dict[str, tuple[str, str]]:
    """Send them all; the publish span of each task id."""
    with tracing() as trace:
        for number in range(TASKS):
            app.tasks["add"].delay(number, 1)
        return {
            span.attributes["messaging.message.id"]: (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
            for span in trace.spans
            if span.name == "apply_async/add"
        }


def told(gathered: Gathered) -> list[tuple[str, tuple[str, str]]]:
    """Task id and parent of every run that arrived."""
    runs = [span for span in gathered.runs() if span.name == "run/add"]
    return [(run.attributes["messaging.message.id"], (run.trace_id, run.parent_span_id)) for run in runs]


def work_through(start: Any, gathered: Gathered) -> list[str]:
    """A worker that is stopped in the middle, and one that does the rest; ids of what they have finished."""
    with start() as worker:
        wait_for_finished(worker, BEFORE_THE_RESTART)
        worker.stop()
        done = finished(worker)
    assert BEFORE_THE_RESTART <= len(done) < TASKS
    # Told before the next one starts: the restart itself is under test, not the patience of the receiver.
    gathered.wait_for(lambda spans: len(told(gathered)) >= len(done))
    assert sorted(each for each, _ in told(gathered)) == sorted(done)
    with start() as worker:
        until = time.monotonic() + 3 * DEADLINE
        while len({*done, *finished(worker)}) < TASKS and time.monotonic() < until:
            time.sleep(0.1)
        worker.stop()
        return done + finished(worker)


@pytest.mark.parametrize(
    "broker",
    [pytest.param("redis", marks=pytest.mark.redis), pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)],
)
def test_a_thousand_tasks_and_a_restart(tmp_path: Path, broker: str) -> None:
    require(broker)
    queue, gathered = f"clew-{uuid.uuid4().hex[:12]}", Gathered()
    app = make_app(URLS[broker], queue)
    with contextlib.ExitStack() as stack:
        stack.callback(pools.reset)
        stack.callback(_clean_up, app, broker, queue)
        receiver = stack.enter_context(Receiver(gathered.take, grpc_port=0, http_port=None))
        published = publish(app)
        assert len(published) == TASKS
        done = work_through(lambda: Worker(URLS[broker], queue, receiver.grpc_endpoint, tmp_path, *RECYCLED), gathered)
    # Celery restores what it has not acknowledged when it stops, also what a child has just begun: that runs twice.
    assert set(done) == set(published)
    assert len(done) <= TASKS + 10
    assert sorted(told(gathered)) == sorted((each, published[each]) for each in done)
    assert len({run.span_id for run in gathered.runs()}) == len(done)
