"""Spans of others come out without secrets: whatever part of the span they stand in."""

from __future__ import annotations

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import Link, SpanContext, StatusCode, TraceFlags

from clew.processors.redact import RedactProcessor

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


def test_spans_of_ours_were_redacted_when_they_were_recorded(ended):
    assert ended(f"token={SECRET}", scope="clew.seams.x").name == f"token={SECRET}"
