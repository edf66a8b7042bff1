"""Our bytes, parsed, are upstream's message; where upstream loses a span or a batch, ours does not."""

from __future__ import annotations

import importlib
import logging
import math
import random
import threading
from concurrent import futures
from concurrent.futures import ThreadPoolExecutor
from enum import Enum, IntEnum, IntFlag
from http.server import BaseHTTPRequestHandler, HTTPServer

import grpc
import pytest
from opentelemetry import trace
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as upstream_encode_spans
from opentelemetry.exporter.otlp.proto.grpc import trace_exporter as grpc_module
from opentelemetry.exporter.otlp.proto.http import trace_exporter as http_module
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExportResult
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, TraceState
from opentelemetry.trace.status import Status, StatusCode

from clew.engine import isolation
from clew.export import encoding, wire

TRACE_ID, SPAN_ID = 0x0123456789ABCDEF0123456789ABCDEF, 0x00000000000000FF
RESOURCE = Resource({"service.name": "shop", "n": 1}, "https://schema/1")
SCOPE = InstrumentationScope("clew.seams.django.view", "1", "https://schema/2", {"a": 1})
STATE = TraceState([("vendor", "value"), ("other", "x")])


class Colour(str, Enum):
    RED = "red"


class Number(IntEnum):
    ONE = 1


class Flag(IntFlag):
    A = 1


class Text(str):
    __slots__ = ()


@pytest.fixture(autouse=True)
def _fresh(monkeypatch):
    monkeypatch.setattr(isolation, "is_strict", False)
    monkeypatch.setattr(isolation, "_reported", set())
    monkeypatch.setattr(wire, "_pairs", {})
    monkeypatch.setattr(wire, "_names", {})


def context(span_id=SPAN_ID, is_remote=False, state=None, trace_id=TRACE_ID):
    return SpanContext(trace_id, span_id, is_remote, TraceFlags(1), state)


def span(name="view", **given):
    values = {
        "context": context(),
        "resource": RESOURCE,
        "instrumentation_scope": SCOPE,
        "start_time": 1_700_000_000_000_000_000,
        "end_time": 1_700_000_000_000_000_001,
    }
    return ReadableSpan(name, **{**values, **given})


def ours(spans):
    """The message of both encoders, which is one and the same."""
    message = encoding.encode_spans(spans)
    assert isinstance(message, ExportTraceServiceRequest)
    request = encoding.encode_spans_for_http(spans)
    for data in request.SerializePartialToString(), request.SerializeToString():
        assert ExportTraceServiceRequest.FromString(data).SerializeToString(
            deterministic=True
        ) == message.SerializeToString(deterministic=True)
    return message


def assert_same(spans):
    # Twice, as the second time the pieces come from memory. As bytes, since NaN is not equal to itself.
    expected = upstream_encode_spans(spans).SerializeToString(deterministic=True)
    for _ in range(2):
        assert ours(spans).SerializeToString(deterministic=True) == expected
    assert not isolation._reported


def the_spans(message):
    return [span for r in message.resource_spans for scope in r.scope_spans for span in scope.spans]


def attributes_of(message):
    return {pair.key: pair.value for pair in the_spans(message)[0].attributes}


VALUES = [
    *(True, False, None, 0, 1, 127, 128, 16383, 16384, -1, -128, 2**31, -(2**31), 2**63 - 1, -(2**63)),
    *(0.0, -0.0, 1.0, -1.5, 1e308, 5e-324, math.inf, -math.inf, math.nan),
    *("", "a", "é", "日本語", "🧵", "\x00", "x" * 127, "x" * 128, "é" * 5000, "y" * 200_000),
    *(b"", b"\xff\x00", bytearray(b"ab"), memoryview(b"ab"), b"z" * 3000),
    *(Colour.RED, Number.ONE, Flag.A, Text("safe")),
    *([], (), [1, "a", None, True, 2.5, b"x"], [[1], [[2]], {"k": [3]}], range(3), ["x"] * 3000),
    *({}, {"a": 1}, {"a": {"b": {"c": [1, {"d": None}]}}, "": ""}, {1: "x", None: 2, Colour.RED: 3}),
]


@pytest.mark.parametrize("value", VALUES, ids=lambda value: f"{type(value).__name__}-{str(value)[:12]!a}")
def test_every_kind_of_value(value):
    assert_same([span(attributes={"k": value, "": "empty key", "after": 1})])


def test_values_that_are_equal_but_of_another_type_are_told_apart():
    values = [1, True, 1.0, 0, False, 0.0, -0.0, "1", b"1", Text("1"), Number.ONE, (1,), (True,), (1.0,)]
    for _ in range(3):
        random.shuffle(values)
        assert_same([span(attributes={"k": value}) for value in values])


def test_spans_of_the_sdk():
    exporter, spans = InMemorySpanExporter(), []
    for number in range(2):
        provider = TracerProvider(resource=Resource({"service.name": f"shop {number}", "tags": ("a", "b")}))
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        make_spans(provider)
    spans = exporter.get_finished_spans()
    assert len(spans) == 2 * 19
    assert_same(spans)
    assert_same(spans[::-1])
    for one in spans:
        assert_same([one])


def make_spans(provider):
    tracer = provider.get_tracer("clew.seams.one", "1.0", "https://schema/1", {"scope": True})
    other = provider.get_tracer("clew.seams.two")
    remote = trace.set_span_in_context(trace.NonRecordingSpan(context(7, True, STATE)))
    local = trace.set_span_in_context(trace.NonRecordingSpan(context(8, False)))
    for kind in SpanKind:
        with (
            tracer.start_as_current_span(f"kind {kind}", remote, kind, {"k": kind.value}),
            other.start_as_current_span("GET users/<username>/", attributes={"status": 200}) as child,
        ):
            child.add_event("log", {"a": [1, 2], "b": "é"})
            child.add_event("bare", timestamp=5)
            child.add_link(context(9, True, STATE), {"why": "retry"})
            child.add_link(context(10))
    for code in StatusCode:
        with other.start_as_current_span("status", local) as one:
            one.set_status(Status(code, "why é" if code is StatusCode.ERROR else None))
    tracer.start_span("").end()
    tracer.start_span("日本語", links=[Link(context(11), {"k": 1})], start_time=1).end(2)
    with pytest.raises(ZeroDivisionError), tracer.start_as_current_span("error"):
        _ = 1 / 0
    tracer.start_span("no description").set_status(StatusCode.ERROR)
    for number in range(3):
        tracer.start_span(f"{number}", attributes={"a": "b" * number}).end()


def test_what_was_dropped_is_counted(caplog):
    caplog.set_level(logging.CRITICAL)
    for limits in (
        SpanLimits(max_span_attributes=2, max_events=1, max_links=1, max_event_attributes=1, max_link_attributes=1),
        SpanLimits(max_span_attributes=0, max_events=0, max_links=0),
        SpanLimits(max_span_attribute_length=2),
    ):
        exporter, provider = InMemorySpanExporter(), TracerProvider(span_limits=limits)
        provider.add_span_processor(SimpleSpanProcessor(exporter))
        one = provider.get_tracer("t").start_span("x", attributes={"a": "long", "b": "long", "c": 3})
        for number in range(3):
            one.add_event(f"{number}", {"a": 1, "b": 2})
            one.add_link(context(number + 1), {"a": 1, "b": 2})
        one.end()
        assert_same(exporter.get_finished_spans())
        assert_same([one])


def test_absent_fields():
    assert_same([])
    assert_same([span(name=None, start_time=None, end_time=None, status=None, attributes=None)])
    assert_same([span(instrumentation_scope=None), span(), span(instrumentation_scope=None)])
    assert_same([span(instrumentation_scope=InstrumentationScope("")), span(resource=Resource({}))])
    assert_same([span(attributes={}, parent=context(5), context=context(state=STATE))])


def test_resources_and_scopes_are_grouped_as_upstream_does():
    resources = [Resource({"service.name": name}, url) for name in "ab" for url in ("", "u")]
    resources.append(Resource({"service.name": "a"}))
    scopes = [InstrumentationScope(name, "1", url, {"k": 1}) for name in "xy" for url in ("", "u")]
    scopes += [None, InstrumentationScope("x", "1", "", {"k": 1}), InstrumentationScope("x", "2")]
    pairs = [(resource, scope) for resource in resources for scope in scopes] * 2
    random.shuffle(pairs)
    assert_same([span(resource=resource, instrumentation_scope=scope) for resource, scope in pairs])


def random_value(depth=0):
    simple = [value for value in VALUES if not isinstance(value, memoryview) and len(str(value)) < 300]
    if depth < 3 and random.random() < 0.2:
        return [random_value(depth + 1) for _ in range(random.randrange(4))]
    if depth < 3 and random.random() < 0.1:
        return {random_text(): random_value(depth + 1) for _ in range(random.randrange(4))}
    number = random.getrandbits(random.randrange(1, 64))
    return random.choice([*simple, random_text(), number, random.random()])


def random_text():
    return "".join(chr(random.choice([65, 97, 0xE9, 0x20AC, 0x1F600])) for _ in range(random.randrange(12)))


def random_attributes():
    found = {random_text(): random_value() for _ in range(random.randrange(8))}
    return random.choice([found, BoundedAttributes(5, found), BoundedAttributes(attributes=found)])


def random_context():
    state = random.choice([None, STATE, TraceState()])
    return context(random.getrandbits(64), random.random() < 0.5, state, random.getrandbits(128))


def random_span():
    return span(
        random_text(),
        context=random_context(),
        parent=random.choice([None, random_context()]),
        kind=random.choice(list(SpanKind)),
        resource=random.choice([RESOURCE, Resource({"service.name": "b"})]),
        instrumentation_scope=random.choice([SCOPE, InstrumentationScope("b"), None]),
        attributes=random_attributes(),
        events=[Event(random_text(), random_attributes(), time) for time in range(random.randrange(3))],
        links=tuple(Link(random_context(), random_attributes()) for _ in range(random.randrange(3))),
        status=random.choice([Status(), Status(StatusCode.OK), Status(StatusCode.ERROR, random_text())]),
        start_time=random.getrandbits(64),
        end_time=random.getrandbits(64),
    )


@pytest.mark.parametrize("seed", range(40))
def test_random_spans(seed):
    random.seed(seed)
    assert_same([random_span() for _ in range(random.randrange(30))])


class Shown(ReadableSpan):
    """Holds a secret and shows none, as a redacting wrapper does."""

    @property
    def attributes(self):
        return {"shown": "yes"}

    @property
    def dropped_events(self):
        return 3


class Light(ReadableSpan):
    """Like clew's light spans: plain containers, its own get_span_context."""

    _events = ()
    _links = ()

    def get_span_context(self):
        return context(99)


class Foreign:
    """Has the interface and nothing else."""

    def __init__(self, of):
        self._of = of

    def __getattr__(self, name):
        assert not name.startswith("_")
        return getattr(self._of, name)


@pytest.mark.parametrize("kind", [Shown, Light])
def test_subclasses_of_readable_span(kind):
    one = kind("x", context(), resource=RESOURCE, attributes={"secret": "s"}, start_time=1, end_time=2)
    assert_same([one])
    assert_same([Foreign(one)])


def test_what_a_subclass_hides_stays_hidden():
    message = ours([Shown("x", context(), resource=RESOURCE, attributes={"secret": "s"})])
    assert set(attributes_of(message)) == {"shown"}


def test_foreign_spans_with_everything():
    random.seed(1)
    assert_same([Foreign(random_span()) for _ in range(50)])


def test_lone_surrogates_are_escaped_and_cost_nothing_else():
    bad = "caf\udce9"
    message = ours(
        [
            span(
                bad,
                attributes={bad: bad, "list": [bad], "map": {bad: bad}, "ok": 1},
                events=[Event(bad, {bad: bad})],
                status=Status(StatusCode.ERROR, bad),
            ),
            span("neighbour"),
        ]
    )
    first, second = the_spans(message)
    assert (first.name, first.status.message, first.events[0].name) == (r"caf\udce9",) * 3
    assert attributes_of(message)[r"caf\udce9"].string_value == r"caf\udce9"
    assert len(first.attributes) == 4
    assert second.name == "neighbour"
    assert not isolation._reported


def test_an_int_over_64_bits_becomes_text():
    values = attributes_of(ours([span(attributes={"huge": 2**70, "least": -(2**63) - 1, "list": [2**64]})]))
    assert values["huge"].string_value == str(2**70)
    assert values["least"].string_value == str(-(2**63) - 1)
    assert values["list"].array_value.values[0].string_value == str(2**64)


class Lazy:
    """Django's SimpleLazyObject, which looks like what it holds and fetches it for that."""

    def evaluate(self, *args):
        evaluated.append(self)
        return "x"

    __class__ = property(evaluate)
    __str__ = __repr__ = __hash__ = __len__ = __iter__ = __bool__ = evaluate


evaluated = []
UNKNOWN = {
    "object": object,
    "lazy": Lazy,
    "lazy in a list": lambda: [Lazy()],
    "lazy in a tuple": lambda: (Lazy(),),
    "in a mapping": lambda: {"k": object()},
    "set": lambda: {1, 2},
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_a_value_otlp_has_no_word_for_is_left_out_unread_and_said_once(kind, caplog):
    attributes = {"bad": UNKNOWN[kind](), "good": 1}
    for _ in range(2):
        message = ours([span(attributes=attributes), span("next")])
        assert set(attributes_of(message)) == {"good"}
        assert len(the_spans(message)) == 2
    assert not evaluated
    assert len(caplog.records) == 1
    assert "'bad'" in caplog.text


def test_a_key_that_is_no_string_is_left_out(caplog):
    assert set(attributes_of(ours([span(attributes={1: 1, "good": 1})]))) == {"good"}


def nested(levels, wrap):
    value = "end"
    for _ in range(levels):
        value = wrap(value)
    return value


@pytest.mark.parametrize("wrap", [lambda value: {"k": value}, lambda value: [value]])
def test_a_value_nested_too_deep_for_a_reader_is_left_out(wrap, caplog):
    deepest = nested(wire.MAX_NESTING, wrap)
    attributes = {"k": deepest}
    one = span(attributes=attributes, events=[Event("e", attributes, 1)], links=[Link(context(), attributes)])
    assert_same([one])
    circle = []
    circle.append(circle)
    for value in nested(wire.MAX_NESTING + 1, wrap), nested(5000, wrap), circle:
        assert set(attributes_of(ours([span(attributes={"bad": value, "good": 1})]))) == {"good"}


def test_what_ours_cannot_encode_upstream_does(monkeypatch, caplog):
    def broken(status):
        if status.status_code is StatusCode.ERROR:
            raise RuntimeError("ours")
        return status_of(status)

    status_of = encoding.status_of
    monkeypatch.setattr(encoding, "status_of", broken)
    error = Status(StatusCode.ERROR, "x")
    spans = [span("a", status=error), span("b"), span("c", status=error)]
    expected = upstream_encode_spans(spans)
    assert ours(spans) == expected
    assert len(caplog.records) == 1


def test_a_batch_ours_cannot_encode_goes_to_upstream(monkeypatch, caplog):
    monkeypatch.setattr(encoding, "_scope", lambda scope: 1 / 0)
    for _ in range(2):
        spans = [span("a"), span("b")]
        assert encoding.encode_spans(spans) == upstream_encode_spans(spans)
        assert encoding.encode_spans_for_http(spans) == upstream_encode_spans(spans)
    assert len(caplog.records) == 1


def test_bytes_no_reader_takes_go_to_upstream(monkeypatch, caplog):
    monkeypatch.setattr(encoding, "status_of", lambda status: b"\x7a\x7f")
    assert encoding.encode_spans([span("a")]) == upstream_encode_spans([span("a")])
    assert "export.encoding" in caplog.text


@pytest.mark.parametrize(
    "bad", [{"name": 5}, {"kind": 7}, {"context": None}, {"start_time": -1}, {"end_time": "now"}], ids=str
)
def test_a_span_nobody_can_encode_costs_only_itself(bad, caplog):
    batch = [span("before"), span(**bad), span("after")]
    with pytest.raises(Exception):  # noqa: B017, PT011 - upstream loses the batch, by one exception or another
        upstream_encode_spans(batch)
    assert [one.name for one in the_spans(ours(batch))] == ["before", "after"]
    assert "not exported" in caplog.text


def test_memory_is_bounded(monkeypatch):
    monkeypatch.setattr(wire, "MAX_KEPT", 50)
    for number in range(20):
        assert_same([span(f"{number} {i}", attributes={f"k{number}": i, "s": f"{i} {number}"}) for i in range(30)])
    assert_same([span("n" * 5000, attributes={"k": "v" * 5000})])
    kept = [wire._names, wire._pairs]
    assert all(0 < len(cache) <= 50 for cache in kept[:3])
    assert all(len(data) <= wire.MAX_KEPT_BYTES for cache in kept for data in cache.values())


def test_threads_share_the_memory(monkeypatch):
    monkeypatch.setattr(wire, "MAX_KEPT", 20)
    spans = [span(f"{i}", attributes={"a": i, "b": f"{i % 40}", "c": i % 2 == 0}) for i in range(200)]
    expected = upstream_encode_spans(spans)
    barrier = threading.Barrier(8)

    def encode(_):
        barrier.wait(timeout=30)
        return all(encoding.encode_spans(spans) == expected for _ in range(10))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(encode, range(8)))
    assert not isolation._reported


def test_the_names_it_is_installed_at_exist():
    assert set(encoding.ENCODERS) == {http_module.__name__, grpc_module.__name__}
    for module in encoding.ENCODERS:
        assert importlib.import_module(module).encode_spans
        assert callable(encoding.ENCODERS[module])


@pytest.fixture(params=[encoding.encode_spans, encoding.encode_spans_for_http])
def http_receiver(request, monkeypatch):
    received = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            received.append(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    monkeypatch.setattr(http_module, "encode_spans", request.param)
    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", received
        server.shutdown()
        thread.join(10)


def test_the_http_exporter_sends_it(http_receiver):
    endpoint, received = http_receiver
    random.seed(2)
    spans = [random_span() for _ in range(20)]
    exporter = http_module.OTLPSpanExporter(endpoint=endpoint, timeout=10)
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    exporter.shutdown()
    sent = ExportTraceServiceRequest.FromString(received[0])
    assert sent.SerializeToString(deterministic=True) == upstream_encode_spans(spans).SerializeToString(
        deterministic=True
    )


def test_the_grpc_exporter_sends_it(monkeypatch):
    received = []

    class Receiver(trace_service_pb2_grpc.TraceServiceServicer):
        def Export(self, request, context):
            received.append(request)
            return ExportTraceServiceResponse()

    monkeypatch.setattr(grpc_module, "encode_spans", encoding.ENCODERS[grpc_module.__name__])
    server = grpc.server(futures.ThreadPoolExecutor(1))
    trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Receiver(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    spans = [span("a", attributes={"k": 1}), span("b", parent=context(3))]
    exporter = grpc_module.OTLPSpanExporter(endpoint=f"127.0.0.1:{port}", insecure=True, timeout=10)
    assert exporter.export(spans) is SpanExportResult.SUCCESS
    exporter.shutdown()
    server.stop(0).wait()
    assert received == [upstream_encode_spans(spans)]
