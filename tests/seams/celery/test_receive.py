"""What the worker's main process says of a delivery: when, under which span id, the how manyth run."""

from __future__ import annotations

from unittest.mock import Mock

import celery.signals
import celery.worker.worker
import pytest

from clew.testing import tracing
from tests.seams.celery import ends
from tests.seams.celery.test_worker import Site, _connections, site  # noqa: F401 - a fixture


@pytest.mark.parametrize(
    "broker",
    [pytest.param("redis", marks=pytest.mark.redis), pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)],
)
@pytest.mark.parametrize("pool", ["prefork", "threads"])
def test_a_rejected_message_that_comes_again_says_so(tmp_path, broker, pool):
    with site(tmp_path, broker, "grpc", "-P", pool, "-c", "1", "-I", ends.__name__) as here:
        ends.declare(here.app)
        here.app.tasks["requeued"].delay()
        here.gathered.wait_for(lambda all_: len([each for each in all_ if each.kind == "CONSUMER"]) >= 2)
        here.worker.stop()
        first, second = sorted(here.gathered.runs(), key=lambda run: run.start_ns)
    told = [
        (
            run.attributes["celery.outcome"],
            run.attributes.get("celery.requeue"),
            run.attributes.get("celery.run_number"),
        )
        for run in (first, second)
    ]
    assert told == [("rejected", True, None), ("succeeded", None, 2)]
    assert second.attributes["celery.redelivered"] is True
    assert first.parent_span_id == second.parent_span_id


def test_the_undo_restores_the_identical_objects():
    owner = celery.worker.worker.WorkController
    before, receivers = vars(owner)["_process_task"], list(celery.signals.task_received.receivers or ())
    with tracing():
        assert vars(owner)["_process_task"] is not before
    assert vars(owner)["_process_task"] is before
    assert list(celery.signals.task_received.receivers or ()) == receivers


class OddRequest:
    """As a `Task.Request` of the application's that does not call its parent's `__init__`."""

    def execute_using_pool(self, pool, **options):
        return None


@pytest.mark.parametrize("request_", [OddRequest(), Mock(), None])
def test_a_request_of_another_kind_is_left_alone(trace, request_):
    celery.signals.task_received.send(sender=None, request=request_)
    worker = Mock(spec=celery.worker.worker.WorkController)
    celery.worker.worker.WorkController._process_task(worker, Mock() if request_ is None else request_)
