from __future__ import annotations

import base64
import gzip
import http.client
import json
import socket
import threading
import time
import zlib

import grpc
import pytest
from google.rpc.status_pb2 import Status
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import SpanKind

from clew.cli.view.receiver import Receiver, ReceiverError

LIMIT = 200_000
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


class Inbox:
    """What the receiver handed over, and what it said."""

    def __init__(self):
        self.spans, self.problems = [], []


@pytest.fixture
def inbox():
    return Inbox()


@pytest.fixture
def receiver(inbox):
    with Receiver(
        inbox.spans.extend, grpc_port=0, http_port=0, on_problem=inbox.problems.append, max_body=LIMIT
    ) as started:
        yield started


def export(exporter, name="GET /"):
    provider = TracerProvider(resource=Resource({"service.name": "web", "process.pid": 4711}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with provider.get_tracer("scope").start_as_current_span(name, kind=SpanKind.SERVER, attributes={"n": 1}) as span:
        span.add_event("happened", {"to": "us"})
    provider.shutdown()


def grpc_exporter(receiver, **options):
    return GrpcExporter(endpoint=receiver.grpc_endpoint, insecure=True, **options)


def post(receiver, body, headers, path="/v1/traces", method="POST"):
    connection = http.client.HTTPConnection("127.0.0.1", receiver.http_port, timeout=20)
    try:
        connection.request(method, path, body=body, headers=headers)
        answer = connection.getresponse()
        return answer.status, answer.headers.get("Content-Type"), answer.read()
    finally:
        connection.close()


def request_of(name="GET /", trace_id=None, span_id=None):
    request = ExportTraceServiceRequest()
    request.resource_spans.add().scope_spans.add().spans.add(
        name=name,
        trace_id=bytes.fromhex(TRACE_ID) if trace_id is None else trace_id,
        span_id=bytes.fromhex(SPAN_ID) if span_id is None else span_id,
    )
    return request.SerializeToString()


def json_body(**span):
    fields = {"traceId": TRACE_ID, "spanId": SPAN_ID, "name": "GET /", **span}
    return json.dumps({"resourceSpans": [{"scopeSpans": [{"spans": [fields]}]}]})


def raw_call(receiver, method, body):
    with grpc.insecure_channel(f"127.0.0.1:{receiver.grpc_port}") as channel:
        return channel.unary_unary(method)(body, timeout=20)


TRACES = "/opentelemetry.proto.collector.trace.v1.TraceService/Export"


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_a_real_grpc_exporter(receiver, inbox, compression):
    export(grpc_exporter(receiver, compression=compression))
    (record,) = inbox.spans
    assert (record.name, record.kind, record.scope, record.service) == ("GET /", "SERVER", "scope", "web")
    assert record.attributes == {"n": 1}
    assert record.process == ("web", "4711")
    assert record.events[0][0] == "happened"


@pytest.mark.parametrize("compression", list(Compression))
def test_a_real_http_exporter(receiver, inbox, compression):
    export(HttpExporter(endpoint=f"{receiver.http_endpoint}/v1/traces", compression=compression))
    assert [record.name for record in inbox.spans] == ["GET /"]
    assert inbox.problems == []


def test_exporters_of_several_threads_hand_in_one_after_another():
    running, together, taken = threading.Lock(), [], []

    def take(records):
        together.append(not running.acquire(blocking=False))
        taken.extend(records)
        if not together[-1]:
            running.release()

    with Receiver(take, grpc_port=0, http_port=0) as receiver:
        threads = [threading.Thread(target=export, args=(grpc_exporter(receiver),)) for _ in range(4)]
        threads += [threading.Thread(target=post, args=(receiver, request_of(), PROTOBUF)) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert len(taken) == 12
    assert not any(together)


def test_json_with_hex_ids_and_numbers_as_strings(receiver, inbox):
    body = json_body(
        parentSpanId="b7ad6b7169203331",
        kind=2,
        startTimeUnixNano="1790000000000000001",
        endTimeUnixNano=1790000000000000009,
        status={"code": 2, "message": "no"},
        attributes=[
            {"key": "count", "value": {"intValue": "9007199254740993"}},
            {"key": "list", "value": {"arrayValue": {"values": [{"boolValue": True}, {"doubleValue": 0.5}]}}},
            {"key": "map", "value": {"kvlistValue": {"values": [{"key": "a", "value": {"stringValue": "b"}}]}}},
        ],
        links=[{"traceId": TRACE_ID.upper(), "spanId": SPAN_ID}],
        aFieldFromTheFuture={"x": 1},
    )
    assert post(receiver, body, JSON) == (200, "application/json", b"{}")
    (record,) = inbox.spans
    assert (record.trace_id, record.span_id, record.parent_span_id) == (TRACE_ID, SPAN_ID, "b7ad6b7169203331")
    assert (record.kind, record.status, record.status_message) == ("SERVER", "ERROR", "no")
    assert (record.start_ns, record.duration_ns) == (1790000000000000001, 8)
    assert record.attributes == {"count": 9007199254740993, "list": (True, 0.5), "map": {"a": "b"}}
    assert record.links == ((TRACE_ID, SPAN_ID, {}),)


def deflate_raw(body):
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(body) + packer.flush()


@pytest.mark.parametrize(
    ("encoding", "pack"),
    [
        ("gzip", gzip.compress),
        ("GZIP", gzip.compress),
        ("gzip", lambda body: gzip.compress(body[:5], mtime=0) + gzip.compress(body[5:])),
        ("deflate", zlib.compress),
        ("deflate", deflate_raw),
        ("identity", bytes),
    ],
)
def test_compressed_bodies(receiver, inbox, encoding, pack):
    assert post(receiver, pack(request_of()), {**PROTOBUF, "Content-Encoding": encoding})[0] == 200
    assert len(inbox.spans) == 1


def test_a_chunked_body(receiver, inbox):
    body = request_of("x" * 5000)
    parts = iter([body[:7], body[7:4000], body[4000:]])
    assert post(receiver, parts, PROTOBUF)[0] == 200
    assert len(inbox.spans) == 1


@pytest.mark.parametrize("path", ["/v1/metrics", "/v1/logs"])
def test_metrics_and_logs_are_accepted_and_not_used(receiver, inbox, path):
    assert post(receiver, b"whatever", PROTOBUF, path) == (200, "application/x-protobuf", b"")
    assert post(receiver, "{}", JSON, path) == (200, "application/json", b"{}")
    kind = path.rpartition("/")[2]
    method = f"/opentelemetry.proto.collector.{kind}.v1.{kind.title()}Service/Export"
    assert raw_call(receiver, method, b"whatever") == b""
    assert (inbox.spans, inbox.problems) == ([], [])


@pytest.mark.parametrize(
    ("body", "headers", "status", "reason"),
    [
        (b"\xff\xff\xff", PROTOBUF, 400, "not an OTLP trace request in protobuf"),
        (b"{", JSON, 400, "not an OTLP trace request in JSON"),
        (b"[1]", JSON, 400, "not an OTLP trace request in JSON"),
        (b'{"resourceSpans": [7]}', JSON, 400, "not an OTLP trace request in JSON"),
        (b'{"resourceSpans": 7}', JSON, 400, "not an OTLP trace request in JSON"),
        (b"null", JSON, 400, "a value is of another type"),
        (json_body(links=[None]).encode(), JSON, 400, "a value is of another type"),
        (json_body(startTimeUnixNano=float("nan")).encode(), JSON, 400, "not an OTLP trace request in JSON"),
        (json_body(startTimeUnixNano="9" * 5000).encode(), JSON, 400, "not an OTLP trace request in JSON"),
        (json_body(endTimeUnixNano="-5").encode(), JSON, 400, "not an OTLP trace request in JSON"),
        (gzip.compress(gzip.compress(b"{}", mtime=0), mtime=0), {**JSON, "Content-Encoding": "gzip"}, 400, "in JSON"),
        (b"[" * 100_000, JSON, 400, "not an OTLP trace request in JSON"),
        (b"\xff\xfe", JSON, 400, "not an OTLP trace request in JSON"),
        (json_body(traceId="xyz").encode(), JSON, 400, "not an OTLP trace request in JSON"),
        (json_body(traceId=7).encode(), JSON, 400, "not an OTLP trace request in JSON"),
        (b"no gzip", {**PROTOBUF, "Content-Encoding": "gzip"}, 400, "not valid gzip"),
        (gzip.compress(b"x" * 50, mtime=0)[:-3], {**PROTOBUF, "Content-Encoding": "gzip"}, 400, "not valid gzip"),
        (b"x", {**PROTOBUF, "Content-Encoding": "br"}, 415, "content encoding 'br'"),
        (b"x", {"Content-Type": "text/html"}, 415, "content type 'text/html'"),
        (b"x", {}, 415, "content type"),
        (b"x", {**PROTOBUF, "Content-Length": "9" * 5000}, 413, "larger than"),
        (gzip.compress(b"", mtime=0) * 101, {**PROTOBUF, "Content-Encoding": "gzip"}, 400, "pieces"),
        (b"x", {**PROTOBUF, "Content-Length": "many"}, 400, "Content-Length"),
        (b"x" * (LIMIT + 1), PROTOBUF, 413, "larger than"),
        (gzip.compress(b"x" * (LIMIT + 1), mtime=0), {**PROTOBUF, "Content-Encoding": "gzip"}, 413, "larger than"),
        (zlib.compress(b"x" * (LIMIT + 1)), {**PROTOBUF, "Content-Encoding": "deflate"}, 413, "larger than"),
        (iter([b"x" * LIMIT, b"x" * LIMIT]), PROTOBUF, 413, "larger than"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_reason(receiver, inbox, body, headers, status, reason):
    answered, kind, said = post(receiver, body, headers)
    assert answered == status
    if kind == "application/x-protobuf":
        said = Status.FromString(said).message.encode()
    assert reason in said.decode()
    assert len(inbox.problems) == 1
    assert "\n" not in inbox.problems[0]
    assert reason in inbox.problems[0]
    assert post(receiver, request_of(), PROTOBUF)[0] == 200
    assert len(inbox.spans) == 1


def test_a_refusal_to_json_is_json(receiver):
    _, kind, said = post(receiver, b"{", JSON)
    assert kind == "application/json"
    assert json.loads(said)["code"] == 3


@pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "OPTIONS", "HEAD"])
def test_only_post_is_allowed(receiver, method):
    assert post(receiver, None, {}, method=method)[0] == 405
    assert post(receiver, None, {}, "/", method=method)[0] == 404


def test_another_path_is_not_found_and_the_right_ones_are_named(receiver, inbox):
    status, _, said = post(receiver, request_of(), PROTOBUF, "/")
    assert status == 404
    assert b"/v1/traces" in said
    assert "/v1/traces" in inbox.problems[0]


def test_many_problems_are_said_once(receiver, inbox):
    for _ in range(20):
        post(receiver, b"\xff", PROTOBUF)
    assert len(inbox.problems) == 1


def test_a_problem_cannot_write_control_characters(receiver, inbox):
    post(receiver, b"x", {"Content-Type": "a\x1b[2Jb"})
    assert "\x1b" not in inbox.problems[0]


def test_spans_without_ids_are_counted_in_the_answer(receiver, inbox):
    answer = ExportTraceServiceResponse.FromString(post(receiver, request_of(trace_id=b"short"), PROTOBUF)[2])
    assert answer.partial_success.rejected_spans == 1
    body = json.loads(post(receiver, json_body(spanId=""), JSON)[2])
    assert body["partialSuccess"]["rejectedSpans"] == "1"
    assert inbox.spans == []


def test_a_bad_grpc_payload_is_an_invalid_argument(receiver, inbox):
    with pytest.raises(grpc.RpcError) as caught:
        raw_call(receiver, TRACES, b"\xff\xff\xff")
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert len(inbox.problems) == 1
    raw_call(receiver, TRACES, request_of())
    assert len(inbox.spans) == 1


@pytest.mark.parametrize("compression", [None, grpc.Compression.Gzip])
def test_a_grpc_message_over_the_limit_is_refused(receiver, inbox, compression):
    with (
        grpc.insecure_channel(f"127.0.0.1:{receiver.grpc_port}", compression=compression) as channel,
        pytest.raises(grpc.RpcError) as caught,
    ):
        channel.unary_unary(TRACES)(request_of("x" * LIMIT), timeout=20)
    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert inbox.spans == []


def test_a_callback_that_fails_is_a_server_error_and_not_the_end(inbox):
    def fail(records):
        raise LookupError("full")

    with Receiver(fail, grpc_port=0, http_port=0, on_problem=inbox.problems.append) as receiver:
        assert post(receiver, request_of(), PROTOBUF)[0] == 500
        with pytest.raises(grpc.RpcError) as caught:
            raw_call(receiver, TRACES, request_of())
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert post(receiver, request_of(), PROTOBUF)[0] == 500
    assert "LookupError: full" in inbox.problems[0]


def test_a_sender_that_hangs_up_or_talks_nonsense_does_no_harm(receiver, inbox):
    for said in (b"", b"\x00\x01", b"POST /v1/traces HTTP/1.1\r\nContent-Length: 50\r\n\r\nx", b"GET / HTTP/9\r\n\r\n"):
        with socket.create_connection(("127.0.0.1", receiver.http_port)) as sender:
            sender.sendall(said)
    assert post(receiver, request_of(), PROTOBUF)[0] == 200
    assert len(inbox.spans) == 1


def test_a_grpc_exporter_on_the_http_port_is_told_apart(receiver, inbox):
    with socket.create_connection(("127.0.0.1", receiver.http_port)) as sender:
        sender.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n")
        sender.recv(100)
    assert inbox.problems == [f"a gRPC exporter talks to the HTTP port {receiver.http_port}"]


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_taken_port_is_named_and_nothing_keeps_listening(protocol):
    ports = {"grpc_port": 0, "http_port": 0}
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        ports[f"{protocol}_port"] = other.getsockname()[1]
        receiver = Receiver(print, **ports)
        with pytest.raises(ReceiverError) as caught:
            receiver.start()
    assert f"port {ports[f'{protocol}_port']}" in str(caught.value)
    assert f"--{protocol}-port" in str(caught.value)
    assert "\n" not in str(caught.value)
    if protocol == "http":
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", receiver.grpc_port)) != 0


def test_two_receivers_cannot_share_a_port(receiver):
    with pytest.raises(ReceiverError):
        Receiver(print, grpc_port=receiver.grpc_port, http_port=None).start()


def test_one_protocol_alone(inbox):
    with Receiver(inbox.spans.extend, grpc_port=None, http_port=0) as receiver:
        assert post(receiver, request_of(), PROTOBUF)[0] == 200
    with Receiver(inbox.spans.extend, grpc_port=0, http_port=None) as receiver:
        export(grpc_exporter(receiver))
    assert len(inbox.spans) == 2


def test_it_can_be_stopped_twice_and_the_port_is_free_again(inbox):
    receiver = Receiver(inbox.spans.extend, grpc_port=0, http_port=0)
    receiver.start()
    receiver.stop()
    receiver.stop()
    receiver.start()
    export(grpc_exporter(receiver))
    receiver.stop()
    assert len(inbox.spans) == 1


def test_only_this_machine_unless_asked(receiver):
    assert receiver.grpc_endpoint == f"http://127.0.0.1:{receiver.grpc_port}"
    assert Receiver(print, host="0.0.0.0", http_port=9).http_endpoint == "http://127.0.0.1:9"
    assert Receiver(print, host="::1", http_port=9).http_endpoint == "http://[::1]:9"


def test_base64_ids_of_plain_protobuf_json_are_refused_not_misread(receiver, inbox):
    packed = base64.b64encode(bytes.fromhex(TRACE_ID)).decode()
    assert post(receiver, json_body(traceId=packed), JSON)[0] == 400
    assert inbox.spans == []


@pytest.mark.parametrize("field", ["kind", "name", "traceId", "startTimeUnixNano"])
def test_half_a_surrogate_pair_is_refused(receiver, inbox, field):
    body = json.dumps(json.loads(json_body(**{field: "\ud800"})))
    status, kind, answer = post(receiver, body, {"Content-Type": "application/json"})
    assert (status, kind) == (400, "application/json")
    assert "not an OTLP trace request in JSON" in json.loads(answer)["message"]
    assert inbox.spans == []


def test_slow_senders_do_not_keep_others_out(receiver, inbox):
    slow = [socket.create_connection(("127.0.0.1", receiver.http_port)) for _ in range(40)]
    try:
        for each in slow:
            each.sendall(
                b"POST /v1/traces HTTP/1.1\r\nContent-Type: application/x-protobuf\r\nContent-Length: 9\r\n\r\n"
            )
        started = time.monotonic()
        body = request_of()
        status, _, _ = post(receiver, body, {"Content-Type": "application/x-protobuf"})
        assert status == 200
        assert time.monotonic() - started < 15
        assert len(inbox.spans) == 1
    finally:
        for each in slow:
            each.close()
