"""Beside the common instrumentations of contrib: no span and no log record twice, each in its trace, no secret."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections import Counter

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.export.test_signals import PLAIN, WRAPPER
from tests.processors.collectors import http_collector

pytestmark = pytest.mark.slow
pytest.importorskip("opentelemetry.instrumentation.logging")
LINE = re.compile(r"trace_id=(\w{32}) span_id=(\w{16}).*logged once")


def ran(endpoint, env):
    base = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "CLEW_", "DJANGO_"))}
    otlp = {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    own = {"OTEL_LOGS_EXPORTER": "otlp", "OTEL_PYTHON_LOG_CORRELATION": "true", "PYTHONPATH": os.getcwd()}
    return subprocess.run(
        [sys.executable, *WRAPPER, "tests/export/contrib_site.py"],
        capture_output=True,
        text=True,
        timeout=120,
        env={**base, **otlp, **own, **env},
    )


def spans_of(collector):
    sent = [ExportTraceServiceRequest.FromString(body) for path, body in collector.paths if path.endswith("/traces")]
    return [
        (scope.scope.name, span)
        for request in sent
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def logged(collector):
    return [
        record
        for request in collector.logs
        for resource in request.resource_logs
        for scope in resource.scope_logs
        for record in scope.log_records
        if "logged once" in record.body.string_value
    ]


@pytest.mark.parametrize(
    "env",
    [
        PLAIN,
        {},
        {"OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true"},
        {"OTEL_SEMCONV_STABILITY_OPT_IN": "http/dup,database/dup"},
    ],
    ids=["plain", "distribution", "the SDK's handler", "old and new names"],
)
def test_each_once_and_in_its_trace(env):
    with http_collector() as collector:
        done = ran(collector.endpoint, env)
    assert done.returncode == 0, done.stderr
    spans = spans_of(collector)
    (root,) = [span for _, span in spans if span.name == "GET page/"]
    assert {span.trace_id for _, span in spans} == {root.trace_id}
    calls = Counter(span.name for scope, span in spans if span.kind == span.SPAN_KIND_CLIENT)
    assert calls["GET"] == 4, calls
    assert sum(count for name, count in calls.items() if name.startswith("SELECT")) == 2, calls
    (record,) = logged(collector)
    assert record.trace_id == root.trace_id
    ids = {span.span_id for _, span in spans}
    assert record.span_id in ids
    assert LINE.findall(done.stderr) == [(root.trace_id.hex(), record.span_id.hex())]
    assert [body for body in collector.bodies if b"cAnary7x" in body] == []
