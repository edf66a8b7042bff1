from __future__ import annotations

import logging
import socket
import threading
import time

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

import clew
from clew.core import flush
from clew.export import losses
from clew.export.provider import stop_in_time

EXPORTERS = {
    "grpc": lambda port: GrpcExporter(f"http://127.0.0.1:{port}", insecure=True),
    "http": lambda port: HttpExporter(f"http://127.0.0.1:{port}/v1/traces"),
}


@pytest.fixture
def refused():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


@pytest.fixture
def silent():
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(5)
        yield server.getsockname()[1]


@pytest.fixture(autouse=True)
def _as_at_the_start():
    yield
    flush.State.is_failing = flush.State.has_given_up = flush.State.has_no_connection = False


def exporting(exporter):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter, schedule_delay_millis=3_600_000))
    tracing = clew.setup_tracing(tracer_provider=provider, flush_timeout_ms=1000, flush_unreachable_timeout_ms=200)
    for name in ("one", "two", "three"):
        provider.get_tracer("test").start_span(name).end()
    return provider, tracing


def counted(reader):
    found = {}
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                if metric.name == "clew.spans.lost":
                    for point in metric.data.data_points:
                        found[point.attributes["error.type"]] = point.value
    return found


@pytest.fixture
def reader(monkeypatch):
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(losses.metrics, "get_meter", lambda *_: provider.get_meter("test"))
    return reader


@pytest.mark.parametrize("protocol", EXPORTERS)
@pytest.mark.parametrize(("state", "reason"), [("refused", "unreachable"), ("silent", "timeout")])
def test_what_a_leaving_process_could_not_send_is_counted_and_said(request, reader, caplog, protocol, state, reason):
    provider, tracing = exporting(EXPORTERS[protocol](request.getfixturevalue(state)))
    caplog.set_level(logging.WARNING, "clew")
    try:
        flush.flush_before_exit(provider, is_last=True)
    finally:
        stop_in_time(provider)
        tracing.shutdown()
    assert counted(reader) == {reason: 3}
    (line,) = [each.getMessage() for each in caplog.records if each.name == "clew"]
    assert line.startswith("clew: 3 spans were lost: ")
    assert ("clew doctor" in line) if reason == "unreachable" else ("CLEW_FLUSH_TIMEOUT_MS" in line)


@pytest.mark.parametrize("state", ["refused", "silent"])
def test_the_exit_of_a_process_counts_too(request, reader, state):
    provider, tracing = exporting(GrpcExporter(f"http://127.0.0.1:{request.getfixturevalue(state)}", insecure=True))
    try:
        stop_in_time(provider)
    finally:
        tracing.shutdown()
    assert sum(counted(reader).values()) == 3


def test_nothing_is_said_of_what_arrives(reader, caplog):
    from clew.cli.receiver import Receiver

    received = []
    with Receiver(received.extend, grpc_port=0, http_port=None) as receiver:
        provider, tracing = exporting(GrpcExporter(receiver.grpc_endpoint, insecure=True))
        assert flush.flush_before_exit(provider, is_last=True)
        stop_in_time(provider)
        tracing.shutdown()
    assert len(received) == 3
    assert counted(reader) == {}
    assert "lost" not in caplog.text


def test_a_leaving_process_ends_a_retry_that_would_come_too_late():
    back_off = losses.BackOff(threading.Event())
    told = []
    sleeper = threading.Thread(target=lambda: told.append(back_off.wait(3600)))
    sleeper.start()
    with flush.leaving():
        sleeper.join(30)
    assert told == [True]


def test_otherwise_a_retry_comes_when_it_should():
    back_off = losses.BackOff(threading.Event())
    started = time.monotonic()
    assert back_off.wait(0.15) is False
    assert time.monotonic() - started >= 0.15
    back_off.set()
    assert back_off.wait(3600) is True


def test_uninstalling_gives_the_exporter_its_event_back(refused):
    exporter = GrpcExporter(f"http://127.0.0.1:{refused}", insecure=True)
    before, export = exporter._shutdown_in_progress, GrpcExporter.export
    provider, tracing = exporting(exporter)
    flush.flush_before_exit(provider, is_last=True)
    assert isinstance(exporter._shutdown_in_progress, losses.BackOff)
    tracing.shutdown()
    assert exporter._shutdown_in_progress is before
    assert GrpcExporter.export is export
    provider.shutdown()


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("127.0.0.1:{}", False),
        ("http://127.0.0.1:{}/v1/traces", False),
        ("unix:///run/otel.sock", True),  # cannot be told
        ("dns:///collector:4317", True),
        ("", True),
    ],
)
def test_whether_a_collector_can_be_reached(refused, monkeypatch, endpoint, expected):
    monkeypatch.setattr(losses, "getproxies", dict)
    assert losses.can_connect(endpoint.format(refused), 5) is expected


def test_behind_a_proxy_it_cannot_be_told(refused, monkeypatch):
    monkeypatch.setattr(losses, "getproxies", lambda: {"http": "http://proxy:3128"})
    assert losses.can_connect(f"http://127.0.0.1:{refused}", 5) is True


def test_a_name_is_not_looked_up_at_the_exit(monkeypatch):
    monkeypatch.setattr(losses, "getproxies", dict)
    assert losses.can_connect("http://collector.invalid:4317", 5, is_numeric=True) is True
