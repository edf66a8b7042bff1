"""Ten thousand forged values: a metric of ours, or of contrib's that we record, has a bounded number of series."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from celery.app.task import Context
from django.http import HttpRequest
from django.urls import ResolverMatch
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from clew.engine import metric
from clew.engine.series import MAX_SERIES
from clew.export.losses import REASONS, Losses
from clew.seams.celery import contrib
from clew.seams.celery.fate.span import Fate, Unregistered, open_report
from clew.seams.celery.message import metrics
from clew.seams.django import contrib as django_contrib
from clew.seams.django.request import metrics as request_metrics
from clew.seams.django.request.attributes import request_attributes
from clew.story import findings, queries
from clew.story.task_run import TaskRun
from clew.testing import tracing
from tests.celery_site.app import make_app

FORGED = 10_000


@pytest.fixture
def reader(monkeypatch):
    """The global meter provider's; the API lets it be set only once."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(api._internal, "_METER_PROVIDER", provider)
    metric.reset()
    for each in (request_metrics._active, request_metrics._old, request_metrics._new):
        each.reset()
    contrib.reset()
    yield reader
    metrics.reset()
    contrib.reset()
    provider.shutdown()


def series(reader):
    return {
        metric.name: [dict(point.attributes) for point in metric.data.data_points]
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def assert_bounded(reader, *wanted):
    found = series(reader)
    assert set(found) == set(wanted)
    assert {name for name, points in found.items() if not MAX_SERIES <= len(points) <= MAX_SERIES + 10} == set()
    assert all("_OTHER" in found[name][-1].values() for name in wanted)


def forged_errors():
    return [type(f"Forged{each}", (Exception,), {}) for each in range(FORGED)]


def test_publishes(reader):
    for each, kind in enumerate(forged_errors()):
        metrics.sending(f"task{each % 500}", {"messaging.system": "redis", "server.address": f"host{each}"})
        metrics.sending_to(f"exchange{each}", f"queue{each}")
        metrics.sent(kind())
    assert_bounded(reader, metrics.SENT, metrics.OPERATION_DURATION)


def test_messages_that_are_received(reader):
    app = make_app()
    for each in range(FORGED):
        delivery = {"exchange": f"exchange{each}", "routing_key": f"queue{each}"}
        metrics.consumed(app, {"task": f"task{each}", "delivery_info": delivery})
    assert_bounded(reader, metrics.CONSUMED)


def test_runs(reader):
    app = make_app()
    with tracing():
        for each, kind in enumerate(forged_errors()):
            run = TaskRun(SimpleNamespace(exemplar_context=lambda: None), app.tasks["add"], Context({}))
            run.outcome, run.error = "failed", kind()
            waits = {"celery.queue_ms": 1, "celery.prefetch_ms": 1, "celery.eta_ms": 1}
            metrics.ran(run, {"messaging.destination.name": f"queue{each}"}, waits)
            contrib.record(1, {"task": "add", "worker": f"worker{each}"})
    waits = (metrics.QUEUE_DURATION, metrics.PREFETCH_DURATION, metrics.ETA_DURATION)
    assert_bounded(reader, metrics.PROCESS_DURATION, metrics.TASKS, *waits, contrib.HISTOGRAM)


def test_tasks_that_no_worker_knows_are_one_series(reader):
    app = make_app()
    with tracing():
        for each in range(FORGED):
            request = Context({"id": str(each), "task": f"task{each}", "delivery_info": {"routing_key": "mail"}})
            open_report(Unregistered(f"task{each}", app), request, Fate("unknown", "not registered")).end()
    (point,) = series(reader)[metrics.TASKS]
    assert point == {
        "celery.task_name": "_OTHER",
        "messaging.destination.name": "mail",
        "celery.outcome": "unknown",
    }


def test_findings_and_time_in_queries_by_route_or_task(reader):
    for each in range(FORGED):
        where = {"http.route": f"route{each}"} if each % 2 else {"celery.task_name": f"task{each}"}
        findings.finish([findings.Finding("slow_query", "slow", "fix")], None, where, None)
        queries.Queries().measure(where, None)
    found = series(reader)
    assert {name: len(points) <= MAX_SERIES + 2 for name, points in found.items()} == {
        "clew.findings": True,
        "clew.db.duration": True,
    }


def forged_request(number):
    request = HttpRequest()
    request.method = f"VERB{number}"
    request.META = {"HTTP_HOST": f"host{number}", "REQUEST_METHOD": request.method, "SERVER_NAME": f"s{number}"}
    request.META |= {"wsgi.url_scheme": "http", "SERVER_PROTOCOL": "HTTP/1.1", "SERVER_PORT": "80"}
    request.resolver_match = ResolverMatch(print, (), {}, route=f"route{number}")
    return request


@pytest.mark.parametrize("mode", ["default", "http", "http/dup"])
def test_requests(monkeypatch, reader, mode):
    meter = api.get_meter("test")
    holder = SimpleNamespace(
        _active_request_counter=meter.create_up_down_counter("active"),
        _duration_histogram_old=meter.create_histogram("old"),
        _duration_histogram_new=meter.create_histogram("new"),
    )
    with tracing():
        monkeypatch.setattr(django_contrib, "middleware", lambda: holder)
        monkeypatch.setattr(django_contrib.State, "mode", mode)
        for each in range(FORGED):
            request = forged_request(each)
            measured = request_metrics.started(lambda request=request: request_attributes(request, mode))
            measured.status_code = 200
            measured.record(request)
    found = series(reader)
    assert {name: len(points) <= MAX_SERIES + 2 for name, points in found.items()} == dict.fromkeys(found, True)
    assert set(found) == {"active", "old", "new"}


def test_spans_that_are_lost(reader):
    losses = Losses("http://localhost:4317")
    for reason in list(REASONS) * 2:
        losses.add(1, reason)
    losses.report()
    assert len(series(reader)["clew.spans.lost"]) == len(REASONS)
