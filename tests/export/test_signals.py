"""Metrics and log records are sent after `pip install clew` alone, and once only where others send them.

Real processes, a collector that decodes what it is sent. `PLAIN` keeps opentelemetry-distro, which the tests have
installed, from configuring anything, as if it were not there.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import textwrap

import pytest

from tests.processors.collectors import http_collector, refusing
from tests.seams.celery.test_worker import _connections, site, wait_for_finished  # noqa: F401 - a fixture

pytestmark = pytest.mark.slow
PLAIN = {"OTEL_PYTHON_CONFIGURATOR": "none", "OTEL_PYTHON_DISTRO": "none"}
WRAPPER = ["-c", "from opentelemetry.instrumentation.auto_instrumentation import run; run()", sys.executable]
REQUEST = """
    import logging
    from django.conf import settings
    settings.configure(ROOT_URLCONF="tests.site.urls", SECRET_KEY="x", ALLOWED_HOSTS=["*"])
    SETUP
    import django
    django.setup()
    from django.test import Client
    Client().get("/plain/")
"""


def ran(tmp_path, endpoint, *, code=REQUEST, setup="", arguments=WRAPPER, **env):
    script = tmp_path / "program.py"
    script.write_text(textwrap.dedent(code.replace("SETUP", setup)))
    base = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "CLEW_", "DJANGO_"))}
    otlp = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    done = subprocess.run(
        [sys.executable, *arguments, str(script)],
        capture_output=True,
        text=True,
        timeout=120,
        env={**base, **otlp, "PYTHONPATH": os.getcwd(), **env},
    )
    assert done.returncode == 0, done.stderr
    return [line for line in done.stderr.splitlines() if "not loaded because" not in line]


def points(requests):
    """Process, metric and how much was counted, of every export."""
    found = []
    for resource in (each for request in requests for each in request.resource_metrics):
        process = {each.key: each.value.int_value for each in resource.resource.attributes}.get("process.pid", 0)
        for metric in (each for scope in resource.scope_metrics for each in scope.metrics):
            held = getattr(metric, metric.WhichOneof("data")).data_points
            counts = [each.count if hasattr(each, "count") else each.as_int for each in held]
            found.append((process, metric.name, sum(counts)))
    return found


def beginnings(collector, name):
    """When the sums of a metric began: one for each provider that sends it."""
    resources = [each for request in collector.metrics for each in request.resource_metrics]
    sent = [metric for resource in resources for scope in resource.scope_metrics for metric in scope.metrics]
    return {
        point.start_time_unix_nano
        for metric in sent
        if metric.name == name
        for point in getattr(metric, metric.WhichOneof("data")).data_points
    }


def requests_counted(collector):
    return [count for _, name, count in points(collector.metrics) if name == "http.server.request.duration"]


def test_metrics_are_sent_under_the_wrapper_after_pip_install_clew(tmp_path):
    with http_collector() as collector:
        assert ran(tmp_path, collector.endpoint, **PLAIN) == []
    assert requests_counted(collector) == [1]
    assert {process > 0 for process, _, _ in points(collector.metrics)} == {True}
    assert "GET plain/" in collector.names
    assert collector.logs == []


@pytest.mark.parametrize(
    ("setup", "env", "counted"),
    [
        ("", {"OTEL_METRICS_EXPORTER": "none"}, []),
        ("import clew; clew.setup_tracing()", {}, []),
        ("import clew; clew.setup_tracing()", {"OTEL_METRICS_EXPORTER": "otlp"}, [1]),
        ("import clew; clew.setup_tracing().shutdown()", {"OTEL_METRICS_EXPORTER": "otlp"}, []),
    ],
)
def test_what_is_on_by_default(tmp_path, setup, env, counted):
    arguments = [] if setup else WRAPPER
    with http_collector() as collector:
        assert ran(tmp_path, collector.endpoint, setup=setup, arguments=arguments, **PLAIN, **env) == []
    assert requests_counted(collector) == counted


def test_beside_the_distribution_they_are_sent_once(tmp_path):
    with http_collector() as collector:
        ran(tmp_path, collector.endpoint, OTEL_LOGS_EXPORTER="none")
    # The distribution's provider sends once more when it ends: the same sum, of the same beginning.
    assert set(requests_counted(collector)) == {1}
    assert len(beginnings(collector, "http.server.request.duration")) == 1
    assert collector.names.count("GET plain/") == 1


LOGGED = (
    REQUEST
    + """
    from opentelemetry._logs import get_logger_provider
    logger = get_logger_provider().get_logger("app")
    logger.emit(body="password=hunter2 said")
"""
)


def test_log_records_are_sent_when_they_are_asked_for(tmp_path):
    with http_collector() as collector:
        assert ran(tmp_path, collector.endpoint, code=LOGGED, OTEL_LOGS_EXPORTER="otlp", **PLAIN) == []
    records = [
        record
        for request in collector.logs
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
    ]
    assert [record.body.string_value for record in records] == ["password=[redacted] said"]


@pytest.mark.parametrize("protocol", ["http/protobuf", "grpc"])
def test_a_collector_that_cannot_be_reached_is_one_line(tmp_path, protocol):
    more = {**PLAIN, "OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol}
    with refusing() as collector:
        said = ran(tmp_path, collector.endpoint, **more)
    assert len(said) == 1
    assert re.match(r"clew: metrics were not sent: \S+ could not be reached; start the collector", said[0])


FLUSHED = (
    REQUEST
    + """
    from opentelemetry import metrics
    metrics.get_meter_provider().force_flush()
"""
)


def test_a_backend_of_traces_only_is_told_once_and_asked_no_more(tmp_path):
    with http_collector() as collector:
        collector.refused["/v1/metrics"] = 0
        said = ran(tmp_path, collector.endpoint, code=FLUSHED, **PLAIN)
    assert len(said) == 1
    assert "/v1/metrics takes none; set OTEL_METRICS_EXPORTER=none" in said[0]
    assert collector.refused == {"/v1/metrics": 1}
    assert "GET plain/" in collector.names


FORKED = (
    REQUEST
    + """
    import os
    for _ in range(2):
        if not (child := os.fork()):
            Client().get("/plain/")
            raise SystemExit
        os.waitpid(child, 0)
"""
)


def test_forked_children_count_for_themselves(tmp_path):
    with http_collector() as collector:
        assert ran(tmp_path, collector.endpoint, code=FORKED, PYTHONWARNINGS="ignore", **PLAIN) == []
    assert requests_counted(collector) == [1, 1, 1]
    assert len({process for process, _, _ in points(collector.metrics)}) == 3


@pytest.mark.redis
def test_each_child_of_a_prefork_worker_sends_its_own(tmp_path):
    with http_collector() as collector:
        more = {**PLAIN, "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": f"{collector.endpoint}/v1/metrics"}
        options = ("-c", "1", "--max-tasks-per-child", "1")
        with site(tmp_path, "redis", "http", *options, environment=more | {"OTEL_METRICS_EXPORTER": "otlp"}) as here:
            for _ in range(3):
                here.app.tasks["add"].delay(1, 2)
            wait_for_finished(here.worker, 3)
            here.worker.stop()
            log = here.worker.log.read_text(errors="replace")
    found = points(collector.metrics)
    runs = {process: count for process, name, count in found if name == "clew.celery.tasks"}
    received = {process: count for process, name, count in found if name == "messaging.client.consumed.messages"}
    assert list(runs.values()) == [1, 1, 1], log
    assert list(received.values()) == [3]
    assert not runs.keys() & received.keys()
