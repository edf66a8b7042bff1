"""Many sends over a real broker to a real worker: nothing is lost, every run is linked to the publish that is there."""

from __future__ import annotations

import pytest
from opentelemetry import trace as otel

from tests.seams.celery.test_worker import _connections, site  # noqa: F401 - a fixture

MANY, IN_TRACE = 60, 15


@pytest.mark.parametrize(
    "broker",
    [
        pytest.param("redis", marks=pytest.mark.redis),
        pytest.param("rabbitmq", marks=pytest.mark.rabbitmq),
        "filesystem",
    ],
)
def test_every_run_is_linked_and_no_trace_is_large(tmp_path, monkeypatch, broker):
    monkeypatch.setenv("CLEW_FAN_OUT", str(IN_TRACE))
    with site(tmp_path, broker, "grpc", "-P", "prefork", "-c", "2") as here:
        with otel.get_tracer("test").start_as_current_span("view") as view:
            for number in range(MANY):
                here.app.tasks["add"].delay(number, 1)
        here.gathered.wait_for(lambda spans: len([span for span in spans if span.name == "run/add"]) >= MANY)
        here.worker.stop()
        runs = [span for span in here.gathered.runs() if span.name == "run/add"]
    published = {f"{span.context.span_id:016x}" for span in here.trace.spans if span.name == "apply_async/add"}
    assert len({run.attributes["messaging.message.id"] for run in runs}) == MANY
    assert {run.attributes["celery.publish.span_id"] for run in runs} == published
    trace_id = f"{view.get_span_context().trace_id:032x}"
    inside = [run for run in runs if run.trace_id == trace_id]
    assert len(inside) == IN_TRACE
    assert {run.parent_span_id for run in inside} <= published
    own = [run for run in runs if run.trace_id != trace_id]
    assert len({run.trace_id for run in own}) == len(own) == MANY - IN_TRACE
    assert {run.attributes["clew.fan_out.own_trace"] for run in own} == {True}
    assert not any(run.parent_span_id for run in own)
