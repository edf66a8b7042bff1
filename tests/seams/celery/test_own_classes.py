"""Requests of the application's own class: their tasks get their fate, once, as everybody's do."""

from __future__ import annotations

import pytest

from tests.seams.celery import own_requests
from tests.seams.celery.test_worker import _connections, site  # noqa: F401 - a fixture

# kombu 5.3 and today's redis, when the worker's answer is read.
pytestmark = pytest.mark.filterwarnings("ignore:Call to 'get_connection':DeprecationWarning")

TOLD = [
    ("lost/hard Polite", "timed_out", "ERROR"),
    ("lost/hard Silent", "timed_out", "ERROR"),
    ("lost/killed Polite", "lost", "ERROR"),
    ("lost/killed Silent", "lost", "ERROR"),
    ("revoked/never Closed", "revoked", "UNSET"),
    ("run/fail Polite", "failed", "ERROR"),
    ("run/fail Silent", "failed", "ERROR"),
]


@pytest.mark.redis
def test_a_request_class_need_not_call_celerys_methods(tmp_path):
    with site(tmp_path, "redis", "grpc", "-P", "prefork", "-c", "2", "-I", own_requests.__name__) as here:
        own_requests.declare(here.app)
        for name, *_ in TOLD:
            here.app.send_task(name.partition("/")[2])
        here.gathered.wait_for(lambda all_: sum(span.kind == "CONSUMER" for span in all_) >= len(TOLD))
        here.worker.stop()
        told = [(run.name, run.attributes["celery.outcome"], run.status) for run in here.gathered.runs()]
        published = {f"{span.context.span_id:016x}" for span in here.trace.spans}
    assert sorted(told) == TOLD
    assert {run.parent_span_id for run in here.gathered.runs()} == published
    (revoked,) = (run for run in here.gathered.runs() if run.name == "revoked/never Closed")
    assert revoked.attributes["celery.fate.reason"] == "revoked by Closed"
