"""Spans, log records and metrics come out without secrets: whatever part of them they stand in."""

from __future__ import annotations

import pytest
from opentelemetry.sdk._logs import LoggerProvider
from opentelemetry.sdk._logs.export import InMemoryLogRecordExporter, SimpleLogRecordProcessor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, StatusCode, TraceFlags

from clew.processors.redact import RedactProcessor
from clew.processors.redact_signals import SIGNALS
from clew.spans.identity import TraceIdentity
from clew.spans.light_span import LightSpan
from clew.spans.pipeline import Pipeline

SECRET = "cAnary7x"
CONTEXT = SpanContext(1, 2, is_remote=True, trace_flags=TraceFlags(1))


@pytest.fixture
def ended():
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    # The exporter first: what it sees has been redacted all the same.
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    provider.add_span_processor(RedactProcessor())

    def make(name="call", links=(), scope="other.library", work=lambda span: None):
        with provider.get_tracer(scope).start_as_current_span(name, links=links) as span:
            work(span)
        return exporter.get_finished_spans()[-1]

    yield make
    provider.shutdown()


@pytest.mark.parametrize(
    ("key", "value", "cleaned"),
    [
        ("password", SECRET, "[redacted]"),
        ("user.pin", 1234, "[redacted]"),
        ("http.request.header.cookie", (f"a=1; b={SECRET}",), "[redacted]"),
        ("url.full", f"https://u:p@{SECRET}@h/x?q=1&token={SECRET}", "https://[redacted]@h/x?q=1&token=[redacted]"),
        ("url.query", f"code={SECRET}&q=1", "code=[redacted]&q=1"),
        ("http.request.header.x-custom", ("a", f"Bearer {SECRET}"), ("a", "Bearer [redacted]")),
        (
            "process.command_args",
            ("mysql", "--password", SECRET, "shop"),
            ("mysql", "--password", "[redacted]", "shop"),
        ),
        ("sent", f"Bearer {SECRET}", "Bearer [redacted]"),
        ("db.query.text", f"SELECT '{SECRET}' AS a WHERE b = %s AND c = 3", "SELECT ? AS a WHERE b = %s AND c = 3"),
        ("db.statement", f"INSERT INTO t VALUES ('{SECRET}', 3)", "INSERT INTO t VALUES (?, ?)"),
        ("process.command_args", ("mysql", f"-p{SECRET}", "shop"), ("mysql", "-p[redacted]", "shop")),
        ("gen_ai.usage.input_tokens", 12, 12),
        ("messaging.message.id", "550e8400-e29b-41d4-a716-446655440000", "550e8400-e29b-41d4-a716-446655440000"),
        ("session.id", "0af7651916cd43dd8448eb211c80319c", "0af7651916cd43dd8448eb211c80319c"),
        ("http.response.status_code", 200, 200),
        ("url.path", "/users/3/", "/users/3/"),
        ("numbers", (1, 2), (1, 2)),
        ("texts", ("a b", "GET /x?q=1"), ("a b", "GET /x?q=1")),
    ],
)
def test_attribute_of_span_event_and_link(ended, key, value, cleaned):
    span = ended(
        links=[Link(CONTEXT, {key: value})],
        work=lambda span: (span.set_attribute(key, value), span.add_event("event", {key: value})),
    )
    assert span.attributes[key] == cleaned
    if key.startswith("db."):
        return  # these are a span's
    assert span.events[0].attributes[key] == cleaned
    assert span.links[0].attributes[key] == cleaned


def test_names_and_status(ended):
    def work(span):
        span.add_event(f"sent token={SECRET}")
        span.add_event("GET users/<username>/")
        span.set_status(StatusCode.ERROR, f"password={SECRET} is wrong")

    span = ended(f"GET /x?token={SECRET}", work=work)
    assert span.name == "GET /x?token=[redacted]"
    assert [event.name for event in span.events] == ["sent token=[redacted]", "GET users/<username>/"]
    assert span.status.description == "password=[redacted] is wrong"
    assert ended("GET users/<username>/").name == "GET users/<username>/"
    assert ended("reset/<uidb64>/<token>/").name == "reset/<uidb64>/<token>/"
    assert ended("reset/<str:token>/done").name == "reset/<str:token>/done"


def test_what_the_application_says_on_a_span_of_ours():
    pipeline = Pipeline(TracerProvider())
    trace = TraceIdentity(1, TraceFlags(1), None)
    span = LightSpan(pipeline, pipeline.scope("clew.seams.x"), "view", trace)
    span.set_attribute("password", SECRET)
    span.set_attributes({"sent": f"Bearer {SECRET}", "n": 3})
    span.add_event(f"token={SECRET}", {"user.pin": 1234})
    span.add_link(CONTEXT, {"u": f"https://u:{SECRET}@h/"})
    span.set_status(StatusCode.ERROR, f"password={SECRET} is wrong")
    span.record_exception(ValueError("bad"), {"otp": SECRET})
    span.update_name(f"GET /x?token={SECRET}")
    span.set_attribute(5, f"token={SECRET}")
    told = span.readable().to_json()
    assert SECRET not in told
    assert "1234" not in told
    assert dict(span.attributes) == {"password": "[redacted]", "sent": "Bearer [redacted]", "n": 3}


@pytest.fixture
def signals():
    for seam in SIGNALS:
        seam.install()
    yield
    for seam in SIGNALS:
        seam.uninstall()


@pytest.mark.parametrize(
    ("body", "cleaned"),
    [
        (f"password={SECRET} said", "password=[redacted] said"),
        ({"password": SECRET, "n": 3}, {"password": "[redacted]", "n": 3}),
        (
            {"a": [{"token": SECRET}, f"Bearer {SECRET}"], "b": 1.5},
            {"a": ({"token": "[redacted]"}, "Bearer [redacted]"), "b": 1.5},
        ),
        (f"token={SECRET}".encode(), "token=[redacted]"),
        (b"token", "token"),
        (None, None),
        (True, True),
    ],
)
@pytest.mark.usefixtures("signals")
def test_log_records_of_any_provider(body, cleaned):
    exporter, provider = InMemoryLogRecordExporter(), LoggerProvider(shutdown_on_exit=False)
    provider.add_log_record_processor(SimpleLogRecordProcessor(exporter))
    provider.get_logger("app").emit(
        body=body, attributes={"user.password": SECRET, "url": f"/x?token={SECRET}", "n": 3}
    )
    (record,) = (each.log_record for each in exporter.get_finished_logs())
    assert record.body == cleaned
    assert dict(record.attributes) == {"user.password": "[redacted]", "url": "/x?token=[redacted]", "n": 3}


@pytest.mark.usefixtures("signals")
def test_metrics_of_any_provider():
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader], shutdown_on_exit=False)
    for _ in range(2):
        provider.get_meter("app").create_counter("calls").add(
            1, {"url.full": f"http://u:{SECRET}@h/", "pin": 1234, "n": 3}
        )
    for _ in range(2):
        data = reader.get_metrics_data()
        (point,) = data.resource_metrics[0].scope_metrics[0].metrics[0].data.data_points
        assert dict(point.attributes) == {"url.full": "http://[redacted]@h/", "pin": "[redacted]", "n": 3}
        assert point.value == 2
