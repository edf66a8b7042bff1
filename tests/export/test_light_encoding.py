"""A light span's bytes say what upstream's encoding of the same span says."""

from __future__ import annotations

import pytest
from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as upstream_encode_spans
from opentelemetry.proto.trace.v1.trace_pb2 import Span as SpanMessage
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.trace import (
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
    set_span_in_context,
)

from clew.export.light_encoding import encode_light
from clew.spans import scope as spans
from clew.spans.identity import StaticAttributes
from clew.spans.pipeline import Pipeline

SCOPE = spans.Scope("clew.tests")
REMOTE = SpanContext(7, 8, True, TraceFlags(1), TraceState([("vendor", "1")]))


def say_much(root, child):
    child.note("text", "ü")
    child.set_attribute("number", 3)
    child.add_event("event", {"key": [1, 2]}, 5)
    child.add_link(REMOTE, {"clew.link": "publish"})
    child.fail(ValueError("mine"))


CASES = {
    "nothing": lambda root, child: None,
    "notes": lambda root, child: child.note("key", 1.5),
    "much": say_much,
    "status": lambda root, child: child.set_status(Status(StatusCode.OK)),
    "a dropped attribute": lambda root, child: child.set_attributes({str(number): number for number in range(99)}),
    "renamed": lambda root, child: child.update_name("other"),
    "asked for its context": lambda root, child: child.get_span_context(),
}


@pytest.mark.parametrize("parent", [None, REMOTE])
@pytest.mark.parametrize("case", CASES)
def test_it_is_upstreams(case, parent):
    ended = []
    provider = TracerProvider(span_limits=SpanLimits(max_attributes=70, max_span_attributes=70), shutdown_on_exit=False)
    pipeline = Pipeline(provider, deliver=ended.extend)
    spans.install(pipeline)
    try:
        context = None if parent is None else set_span_in_context(NonRecordingSpan(parent))
        root = spans.start_root(pipeline, "clew.root", "GET x/", SpanKind.SERVER, context, {"a": "b"})
        root.enter()
        child = SCOPE.open("child", {"own": True}, SpanKind.CLIENT, StaticAttributes({"db.system.name": "sqlite"}))
        CASES[case](root, child)
        child.close()
        root.close()
    finally:
        spans.install(None)
    assert [span.name for span in ended] == ["other" if case == "renamed" else "child", "GET x/"]
    for span in ended:
        resource, scope, data = encode_light(span)
        (expected,) = upstream_encode_spans([span.readable()]).resource_spans[0].scope_spans[0].spans
        found = SpanMessage.FromString(data[2 if len(data) > 129 else 1 :])
        for message in (expected, found):
            message.attributes.sort(key=lambda pair: pair.key)
        assert found == expected
        assert (resource, scope.name) == (provider.resource, span.instrumentation_scope.name)
    assert ended[0].parent.span_id == ended[1].context.span_id
