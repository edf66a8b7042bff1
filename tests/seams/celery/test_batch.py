"""celery-batches: one run of many messages is linked to each, and each message ends in its own trace.

The library asks for Celery below 5.7, so it is in no group of ours: `uv run --with celery-batches --with "celery<5.7"`.
"""

from __future__ import annotations

import pytest

pytest.importorskip("celery_batches", reason="celery-batches is not installed")

from tests.seams.celery import batched
from tests.seams.celery.test_worker import _connections, site  # noqa: F401 - a fixture

pytestmark = [pytest.mark.redis, pytest.mark.filterwarnings("ignore:Call to 'get_connection':DeprecationWarning")]


def _told(tmp_path, name, consumers):
    with site(
        tmp_path, "redis", "grpc", "-P", "prefork", "-c", "1", "--prefetch-multiplier", "9", "-I", batched.__name__
    ) as here:
        batched.declare(here.app)
        for number in range(3):
            here.app.send_task(name, (number,))
        here.gathered.wait_for(lambda all_: sum(span.kind == "CONSUMER" for span in all_) >= consumers)
        here.worker.stop()
        published = {(f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}") for span in here.trace.spans}
        return published, here.gathered.runs()


@pytest.mark.parametrize(
    ("name", "outcome", "status"), [("batch", "succeeded", "UNSET"), ("broken batch", "failed", "ERROR")]
)
def test_a_batch_is_one_run_of_many_messages(tmp_path, name, outcome, status):
    published, runs = _told(tmp_path, name, 4)
    (run,) = (span for span in runs if span.name == f"run/{name}")
    each = [span for span in runs if span.name == f"batched/{name}"]
    assert {link[:2] for link in run.links} == published
    assert not run.parent_span_id
    assert run.attributes["messaging.batch.message_count"] == 3
    assert run.attributes["celery.queue_ms"] >= 0
    assert run.attributes["celery.prefetch_ms"] >= 0
    assert {(span.trace_id, span.parent_span_id) for span in each} == published
    assert len({span.attributes["messaging.message.id"] for span in each}) == 3
    assert {span.attributes["celery.batch.span_id"] for span in each} == {run.span_id}
    assert {(span.attributes["celery.outcome"], span.status) for span in runs} == {(outcome, status)}
    assert {span.attributes.get("error.type") for span in runs} == {"ValueError" if status == "ERROR" else None}
    assert "hunter2" not in str(runs)


def test_a_child_that_dies_at_a_batch_loses_each_of_its_messages(tmp_path):
    published, runs = _told(tmp_path, "killed batch", 3)
    assert {(span.trace_id, span.parent_span_id) for span in runs} == published
    assert [(span.name, span.attributes["celery.outcome"]) for span in runs] == [("lost/killed batch", "lost")] * 3
