"""Every span that ends is received, or counted by the true reason and said."""

from __future__ import annotations

import contextlib
import gc
import logging
import os
import threading
import time
from collections import Counter

import pytest
import urllib3
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clew.engine import configuration, flush, isolation
from clew.export import losses as losses_module
from clew.export.exporters import exporters
from clew.export.losses import REASONS, Losses
from clew.export.outgoing import Outgoing
from clew.export.provider import ENCODING
from clew.processors.deliver import DeliverProcessor
from clew.processors.span_queue import Limits
from clew.settings import Settings
from tests.processors.collectors import COLLECTORS, grpc_collector, hanging, http_collector, refusing

PROTOCOLS = {"http": "http/protobuf", "grpc": "grpc"}
# Nothing goes by itself in these tests.
NEVER_MS = 3_600_000
ENOUGH_MS = 60_000


@pytest.fixture(autouse=True)
def encoding():
    ENCODING.install()
    yield
    ENCODING.uninstall()


@pytest.fixture
def reader(monkeypatch):
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    monkeypatch.setattr(losses_module.metrics, "get_meter", lambda *_: provider.get_meter("test"))
    return reader


def counted(reader):
    found = Counter()
    data = reader.get_metrics_data()
    for resource in data.resource_metrics if data else ():
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            for point in metric.data.data_points if metric.name == "clew.spans.lost" else ():
                found[point.attributes["reason"]] += point.value
    return dict(found)


class Delivering:
    """A provider that delivers to a collector."""

    def __init__(self, outgoing, limits=Limits(delay_ms=NEVER_MS), now=time.monotonic):  # noqa: B008 - frozen
        self.processor = DeliverProcessor(outgoing, Losses(outgoing.endpoint, now), limits)
        self.provider = TracerProvider(shutdown_on_exit=False)
        self.provider.add_span_processor(self.processor)
        self.tracer = self.provider.get_tracer("test")

    def end(self, count, name="span", **attributes):
        for number in range(count):
            self.tracer.start_span(f"{name} {number}", attributes=attributes).end()

    def flush(self):
        return self.processor.force_flush(ENOUGH_MS)


@pytest.fixture
def delivering(monkeypatch):
    made = []

    def make(collector, protocol="http", limits=Limits(delay_ms=NEVER_MS), **environment):  # noqa: B008 - frozen
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", PROTOCOLS[protocol])
        now = environment.pop("now", time.monotonic)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        (outgoing,) = exporters()
        made.append(Delivering(outgoing, limits, now))
        return made[-1]

    yield make
    for each in made:
        each.processor.shutdown()


def lines(caplog):
    return [each.getMessage() for each in caplog.records if each.name == "clew"]


@pytest.mark.parametrize("protocol", COLLECTORS)
def test_what_ends_arrives(delivering, reader, caplog, protocol):
    with COLLECTORS[protocol]() as collector:
        site = delivering(collector, protocol)
        site.end(5)
        assert site.flush() is True
        assert collector.names == [f"span {number}" for number in range(5)]
    site.processor.losses.report(is_last=True)
    assert (counted(reader), lines(caplog)) == ({}, [])


@pytest.mark.parametrize("protocol", COLLECTORS)
def test_headers_and_compression_keep_their_meaning(delivering, protocol):
    environment = {"OTEL_EXPORTER_OTLP_HEADERS": "x-key=mine", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip"}
    with COLLECTORS[protocol]() as collector:
        site = delivering(collector, protocol, **environment)
        site.end(1)
        assert site.flush()
    (headers,) = ({name.lower(): value for name, value in each.items()} for each in collector.headers)
    assert (headers["x-key"], collector.names) == ("mine", ["span 0"])
    assert protocol == "grpc" or headers["content-encoding"] == "gzip"


ANSWERS = [
    ("http", (301, {"Location": "/elsewhere"}), "redirected"),
    ("http", (302, {"Location": "/elsewhere"}), "redirected"),
    ("http", (303, {"Location": "/elsewhere"}), "redirected"),
    ("http", (307, {"Location": "/elsewhere"}), "redirected"),
    ("http", (304, {}), "redirected"),
    ("http", (400, {}), "rejected"),
    ("http", (401, {}), "rejected"),
    ("http", (413, {}), "too_large"),
    ("http", (429, {"Retry-After": "3600"}), "rejected"),
    ("http", (503, {"Retry-After": "3600"}), "rejected"),
    ("grpc", "INVALID_ARGUMENT", "rejected"),
    ("grpc", "UNAUTHENTICATED", "rejected"),
    ("grpc", "RESOURCE_EXHAUSTED", "rejected"),
    ("grpc", "UNAVAILABLE", "rejected"),
]


@pytest.mark.parametrize(("protocol", "answer", "reason"), ANSWERS)
def test_a_collector_that_does_not_take_them(delivering, reader, caplog, protocol, answer, reason):
    with COLLECTORS[protocol]() as collector:
        collector.answer = answer
        site = delivering(collector, protocol, OTEL_EXPORTER_OTLP_TIMEOUT="1")
        site.end(3)
        assert site.flush() is False
        site.processor.losses.report()
        assert counted(reader) == {reason: 3}
        (line,) = [each for each in lines(caplog) if "lost" in each]
        assert line.startswith("clew: 3 spans were lost: ")
        assert REASONS[reason][1] in line
        collector.answer = None
        site.end(2)
        assert site.flush() is True
    assert len(collector.names) == 2


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("state", "reason"), [(refusing, "unreachable"), (hanging, "timeout")])
def test_nobody_there_and_somebody_who_says_nothing(delivering, reader, caplog, protocol, state, reason):
    with state() as collector:
        site = delivering(collector, protocol, OTEL_EXPORTER_OTLP_TIMEOUT="1")
        site.end(3)
        assert site.flush() is False
        site.processor.losses.report()
    assert counted(reader) == {reason: 3}
    assert any(REASONS[reason][1] in line for line in lines(caplog))


def test_a_site_that_forbids_connections_makes_the_collector_unreachable(delivering, reader, monkeypatch):
    def forbidden(self):
        raise urllib3.exceptions.HTTPError("Request to local address 127.0.0.1 blocked")

    with http_collector() as collector:
        site = delivering(collector, "http", OTEL_EXPORTER_OTLP_TIMEOUT="1")
        monkeypatch.setattr(urllib3.connection.HTTPConnection, "_new_conn", forbidden)
        site.end(3)
        assert site.flush() is False
        site.processor.losses.report()
    assert counted(reader) == {"unreachable": 3}


def test_a_flush_returns_in_time_and_does_not_lose_what_is_under_way(delivering, reader):
    with http_collector() as collector:
        collector.gate.clear()
        site = delivering(collector)
        site.end(3)
        assert site.processor.force_flush(50) is False
        collector.gate.set()
        assert site.flush() is True
    assert (len(collector.names), counted(reader)) == (3, {})


def test_a_full_queue_is_counted_and_the_flush_says_so(delivering, reader, caplog):
    with http_collector() as collector:
        collector.gate.clear()
        site = delivering(collector, limits=Limits(queue_size=10, batch_size=4, delay_ms=NEVER_MS))
        site.end(200)
        collector.gate.set()
        assert site.flush() is False
        site.processor.losses.report()
        lost = counted(reader)["queue_full"]
        assert lost > 0
        assert len(collector.names) + lost == 200
        assert site.flush() is True, "said once"
    assert "raise OTEL_BSP_MAX_QUEUE_SIZE" in "".join(lines(caplog))


def test_the_queue_is_bounded_by_bytes_too(delivering, reader):
    with http_collector() as collector:
        collector.gate.clear()
        site = delivering(collector, limits=Limits(delay_ms=NEVER_MS, queue_bytes=100_000))
        site.end(20, text="x" * 20_000)
        collector.gate.set()
        site.flush()
        site.processor.losses.report()
    assert len(collector.names) == 4
    assert counted(reader) == {"queue_full": 16}


@pytest.mark.parametrize("protocol", COLLECTORS)
def test_batches_are_bounded_by_count_and_bytes(delivering, protocol):
    with COLLECTORS[protocol]() as collector:
        site = delivering(collector, protocol, limits=Limits(batch_size=5, delay_ms=NEVER_MS, batch_bytes=100_000))
        site.end(7)
        site.end(7, text="x" * 40_000)
        assert site.flush()
    assert max(count for count, _ in collector.sizes) == 5
    assert max(size for _, size in collector.sizes) < 101_000
    assert len(collector.names) == 14


def test_more_than_a_grpc_server_takes_at_once_arrives(delivering):
    with grpc_collector() as collector:
        site = delivering(collector, "grpc")
        site.end(100, text="x" * 100_000)
        assert site.flush() is True
    assert len(collector.names) == 100
    assert max(size for _, size in collector.sizes) <= 4 * 1024 * 1024


def test_one_span_that_is_too_large_costs_nobody_else(delivering, reader):
    with grpc_collector() as collector:
        site = delivering(collector, "grpc")
        site.end(2, text="x" * 5_000_000)
        site.end(2, "small")
        assert site.flush() is False
        site.processor.losses.report()
    assert (collector.names, counted(reader)) == (["small 0", "small 1"], {"too_large": 2})


def test_a_batch_that_a_collector_finds_too_large_is_sent_in_parts(reader):
    class Small:
        endpoint = "here"

        def __init__(self):
            self.taken = []

        def encode(self, span):
            return span.name, len(span.name)

        def send(self, items):
            if len(items) > 2 or "span 3" in items:
                return "too_large"
            self.taken += items
            return ""

        def is_reachable(self, timeout):
            return True

        def shutdown(self):
            pass

    site = Delivering(Small())
    site.end(9)
    assert site.flush() is False
    site.processor.losses.report()
    assert sorted(site.processor.outgoing.taken) == [f"span {number}" for number in range(9) if number != 3]
    assert counted(reader) == {"too_large": 1}
    site.processor.shutdown()


def test_the_last_line_of_a_minute_is_not_missing(delivering, reader, caplog):
    clock = [0.0]
    with http_collector() as collector:
        collector.answer = 400, {}
        site = delivering(collector, now=lambda: clock[0])
        for count in (1, 2, 4):
            site.end(count)
            site.flush()
            site.processor.losses.report()
        said = [line for line in lines(caplog) if "lost" in line]
        assert [line[:16] for line in said] == ["clew: 1 span was"]
        clock[0] = 61.0
        site.processor.losses.report()  # as its thread does, though nothing more is lost
        said = [line for line in lines(caplog) if "lost" in line]
    assert said[1:] == [said[0].replace("1 span was", "6 spans were")]
    assert counted(reader) == {"rejected": 7}


def test_the_thread_sends_when_the_delay_is_over_and_when_a_batch_is_full(delivering):
    with http_collector() as collector:
        soon = delivering(collector, limits=Limits(delay_ms=20))
        soon.end(1)
        wait_for(lambda: len(collector.names) == 1)
        full = delivering(collector, limits=Limits(batch_size=3, delay_ms=NEVER_MS))
        full.end(3)
        wait_for(lambda: len(collector.names) == 4)
    assert len(collector.names) == 4


def wait_for(is_true):
    until = time.monotonic() + 30
    while not is_true() and time.monotonic() < until:
        time.sleep(0.01)


def test_what_ends_after_the_shutdown_is_counted(delivering, reader):
    with http_collector() as collector:
        site = delivering(collector)
        site.end(1)
        assert site.flush()
        site.end(2)
        site.processor.shutdown()
        site.end(3)
        site.processor.losses.report(is_last=True)
    assert (collector.names, counted(reader)) == (["span 0"], {"shutdown": 5})


def test_ended_by_many_threads_and_flushed_meanwhile_to_the_span(delivering, reader):
    with http_collector() as collector:
        site = delivering(collector, limits=Limits(queue_size=50, batch_size=10, delay_ms=1))
        threads = [threading.Thread(target=site.end, args=(300,)) for _ in range(4)]
        for thread in threads:
            thread.start()
        while any(thread.is_alive() for thread in threads):
            site.processor.force_flush(1)
        site.flush()
        site.processor.losses.report()
    assert len(collector.names) + sum(counted(reader).values()) == 1200


def test_a_span_that_a_finalizer_ends_in_the_middle(delivering):
    """The collector may run anywhere, also where the queue is locked."""

    class Holder:
        def __del__(self):
            span.end()

    with http_collector() as collector:
        site = delivering(collector)
        span = site.tracer.start_span("of a finalizer")
        holder = Holder()
        holder.itself = holder
        del holder
        with site.processor._queue.lock:
            gc.collect()
        assert site.flush()
    assert collector.names == ["of a finalizer"]


@contextlib.contextmanager
def bounds(slow_ms, unreachable_ms, *processors):
    configuration.settings = Settings(flush_timeout_ms=slow_ms, flush_unreachable_timeout_ms=unreachable_ms)
    flush.queues = processors
    try:
        yield
    finally:
        configuration.settings, flush.queues = Settings(), ()


@pytest.mark.parametrize("protocol", PROTOCOLS)
@pytest.mark.parametrize(("state", "reason"), [(refusing, "unreachable"), (hanging, "timeout")])
def test_a_process_that_leaves_counts_what_it_could_not_send(delivering, reader, caplog, protocol, state, reason):
    with state() as collector:
        site = delivering(collector, protocol)
        site.end(3)
        with bounds(1000, 400, site.processor):
            assert flush.flush_before_exit(site.provider, is_last=True) is False
    assert counted(reader) == {reason: 3}
    (line,) = [each for each in lines(caplog) if "lost" in each]
    assert line.startswith("clew: 3 spans were lost: ")


def test_a_process_that_leaves_waits_for_a_slow_collector(delivering, reader):
    with http_collector() as collector:
        collector.gate.clear()
        site = delivering(collector)
        site.end(3)
        threading.Timer(1.0, collector.gate.set).start()
        with bounds(ENOUGH_MS, 100, site.processor):
            assert flush.flush_before_exit(site.provider, is_last=True) is True
    assert (len(collector.names), counted(reader)) == (3, {})


@pytest.mark.parametrize("protocol", COLLECTORS)
def test_a_forked_child_sends_its_own_and_only_its_own(delivering, protocol):
    with COLLECTORS[protocol]() as collector:
        site = delivering(collector, protocol)
        site.end(1, "first")
        assert site.flush()
        site.end(1, "of the parent")
        pid = os.fork()
        if not pid:
            with contextlib.suppress(BaseException):
                site.end(1, "of the child")
                os._exit(0 if site.flush() else 1)
            os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
        assert site.flush()
    assert sorted(collector.names) == ["first 0", "of the child 0", "of the parent 0"]


def test_a_fork_while_another_thread_holds_the_lock(delivering):
    with http_collector() as collector:
        site = delivering(collector)
        held, done = threading.Event(), threading.Event()

        def hold():
            with site.processor._queue.lock, site.processor.losses._lock:
                held.set()
                done.wait(60)

        thread = threading.Thread(target=hold)
        thread.start()
        held.wait(60)
        pid = os.fork()
        if not pid:
            with contextlib.suppress(BaseException):
                site.end(1)
                os._exit(0 if site.flush() else 1)
            os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
        done.set()
        thread.join()
    assert collector.names == ["span 0"]


def test_an_exporter_of_somebody_elses_is_given_spans():
    exporter = InMemorySpanExporter()
    site = Delivering(Outgoing(exporter))
    site.end(2)
    assert site.flush()
    assert [span.name for span in exporter.get_finished_spans()] == ["span 0", "span 1"]
    site.processor.shutdown()


def test_an_exporter_that_raises_loses_its_batch_and_no_more(reader):
    class Raising(SpanExporter):
        calls = 0

        def export(self, spans):
            self.calls += 1
            if self.calls == 1:
                raise RuntimeError("theirs")
            return SpanExportResult.SUCCESS

    isolation.is_strict = False
    site = Delivering(Outgoing(Raising()))
    site.end(2)
    assert site.flush() is False
    site.end(1)
    assert site.flush() is True
    site.processor.losses.report()
    assert counted(reader) == {"rejected": 2}
    site.processor.shutdown()


def test_unsampled_spans_are_not_sent(delivering):
    from opentelemetry.trace import NonRecordingSpan, SpanContext, set_span_in_context

    unsampled = set_span_in_context(NonRecordingSpan(SpanContext(1, 2, True)))
    with http_collector() as collector:
        site = delivering(collector)
        site.tracer.start_span("unsampled", unsampled).end()
        assert site.flush()
    assert collector.names == []


@pytest.fixture(autouse=True)
def quiet_exporters(caplog):
    caplog.set_level(logging.WARNING, "clew")


def test_an_export_is_no_span_where_its_http_client_is_instrumented(delivering):
    """Each would be exported, and make the next."""
    instrumentor = pytest.importorskip("opentelemetry.instrumentation.requests").RequestsInstrumentor()
    with http_collector() as collector:
        site = delivering(collector)
        instrumentor.instrument(tracer_provider=site.provider)
        try:
            for _ in range(2):
                site.end(1)
                assert site.flush() is True
        finally:
            instrumentor.uninstrument()
        assert collector.names == ["span 0"] * 2
