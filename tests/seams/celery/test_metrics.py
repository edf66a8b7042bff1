"""Celery's metrics, by the messaging conventions and clew's own; a real reader, real workers."""

from __future__ import annotations

import uuid

import pytest
from celery.app.task import Context
from celery.contrib.testing.worker import start_worker
from kombu.exceptions import OperationalError
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from clew.seams.celery.fate.span import Fate, Unregistered, open_report
from clew.seams.celery.message import metrics
from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.celery_site.worker import DEADLINE
from tests.seams.celery.in_process import ran, until


@pytest.fixture
def reader(monkeypatch):
    """The global meter provider's; the API lets it be set only once."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(api._internal, "_METER_PROVIDER", provider)
    metrics.reset()
    yield reader
    metrics.reset()
    provider.shutdown()


@pytest.fixture(scope="module")
def app():
    app = make_app(queue=f"clew-{uuid.uuid4().hex[:12]}")
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=DEADLINE):
        yield app


def points(reader):
    """Every data point by the metric's name."""
    found = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            if scope.scope.name == "clew.seams.celery":
                for metric in scope.metrics:
                    found[metric.name] = list(metric.data.data_points)
                    assert metric.unit == metrics.METRICS[metric.name].unit
    return found


def test_a_task_from_its_publish_to_its_end(reader, app):
    with tracing() as trace:
        ran(trace, lambda: app.tasks["add"].apply_async((1, 2), countdown=1), "add")
        until(lambda: metrics.PROCESS_DURATION in points(reader))
    found, queue = points(reader), app.conf.task_default_queue
    # The pool's are the main process' (tests/export/test_metrics_fork.py).
    assert set(found) == set(metrics.METRICS) - {metrics.CHILD_EXITS}
    common = {"messaging.system": "memory", "messaging.destination.name": queue, "celery.task_name": "add"}

    def attributes(name):
        (point,) = found[name]
        return dict(point.attributes)

    send = {**common, "messaging.operation.name": "apply_async", "messaging.operation.type": "send"}
    assert attributes(metrics.SENT) == attributes(metrics.OPERATION_DURATION) == send
    receive = {"messaging.operation.name": "receive", "messaging.operation.type": "receive"}
    assert attributes(metrics.CONSUMED) == {**common, **receive}
    process = {"messaging.operation.name": "run", "messaging.operation.type": "process"}
    assert attributes(metrics.PROCESS_DURATION) == {**common, **process, "celery.outcome": "succeeded"}
    where = {"celery.task_name": "add", "messaging.destination.name": queue}
    assert attributes(metrics.TASKS) == {**where, "celery.outcome": "succeeded"}
    assert attributes(metrics.QUEUE_DURATION) == attributes(metrics.PREFETCH_DURATION) == where
    assert 0 < found[metrics.ETA_DURATION][0].sum <= 1


@pytest.mark.parametrize(
    ("name", "args", "outcomes", "error"),
    [
        ("fail", (), {"failed": 1}, "ValueError"),
        ("again", (2,), {"retried": 2, "succeeded": 1}, None),
        ("expected", (), {"expected_failure": 1}, None),
    ],
)
def test_outcomes_are_counted(reader, app, name, args, outcomes, error):
    with tracing() as trace:
        ran(trace, lambda: app.tasks[name].delay(*args), name, sum(outcomes.values()))
        until(lambda: sum(point.value for point in points(reader).get(metrics.TASKS, [])) >= sum(outcomes.values()))
    found = points(reader)
    assert {point.attributes["celery.outcome"]: point.value for point in found[metrics.TASKS]} == outcomes
    durations = found[metrics.PROCESS_DURATION]
    assert {point.attributes["celery.outcome"]: point.count for point in durations} == outcomes
    assert durations[0].attributes.get("error.type") == error


def test_what_the_main_process_tells_is_counted(reader, app):
    request = Context({"id": "1", "delivery_info": {"exchange": "", "routing_key": "mail"}})
    with tracing():
        open_report(Unregistered("nobody.knows", app), request, Fate("unknown", "not registered")).end()
    (point,) = points(reader)[metrics.TASKS]
    assert dict(point.attributes) == {
        "celery.task_name": "_OTHER",
        "messaging.destination.name": "mail",
        "celery.outcome": "unknown",
    }


def test_a_publish_the_broker_refuses(reader):
    app = make_app("redis://127.0.0.1:1/0", broker_connection_timeout=0.1)
    with tracing(), pytest.raises(OperationalError):
        app.tasks["add"].apply_async((1, 2), retry=False)
    (point,) = points(reader)[metrics.SENT]
    assert point.attributes["error.type"] == "kombu.exceptions.OperationalError"
    assert point.attributes["server.port"] == 1


def test_unsampled_tasks_are_counted_too(reader, app, monkeypatch):
    from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

    with tracing():
        from clew.spans import scope as spans

        monkeypatch.setattr(spans.pipeline().provider, "sampler", ALWAYS_OFF)
        app.tasks["add"].delay(1, 2)
        until(lambda: metrics.PROCESS_DURATION in points(reader))
    (point,) = points(reader)[metrics.PROCESS_DURATION]
    assert point.attributes["messaging.system"] == "memory"


def test_without_a_meter_provider_nothing_is_made(app):
    metrics.reset()
    with tracing() as trace:
        ran(trace, lambda: app.tasks["add"].delay(1, 2), "add")
    assert {each._record for each in metrics.METRICS.values()} == {None}
