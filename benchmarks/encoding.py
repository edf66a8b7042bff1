"""Microseconds a span: upstream's encode_spans against ours, in one run. `python benchmarks/encoding.py [--rounds 30]`

Both are run in turn and the fastest round of each counts, so that the ratio holds on a busy machine.
"""

import argparse
import gc
import logging
import time

from opentelemetry.exporter.otlp.proto.common.trace_encoder import encode_spans as upstream
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clew.export.encoding import encode_spans, encode_spans_for_http

BATCH = 512
ATTRIBUTES = {
    "http.request.method": "GET",
    "http.route": "/articles/<int:pk>",
    "http.response.status_code": 200,
    "url.scheme": "http",
    "code.function.name": "app.views.page",
    "django.middleware.name": "app.middleware.TenantMiddleware",
}


def sdk_spans(attributes_of):
    """A batch of real spans: a root, 20 names, 6 attributes."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracers = [provider.get_tracer(f"clew.seams.django.seam{i}") for i in range(8)]
    with tracers[0].start_as_current_span("root", attributes=attributes_of(0)):
        for i in range(1, BATCH):
            tracers[i % 8].start_span(f"span {i % 20}", attributes=attributes_of(i)).end()
    return exporter.get_finished_spans()


def light(span):
    """The same span with plain containers, as clew's light spans are."""
    return ReadableSpan(
        *(span.name, span.context, span.parent, span.resource, dict(span.attributes), (), (), span.kind),
        status=span.status,
        start_time=span.start_time,
        end_time=span.end_time,
        instrumentation_scope=span.instrumentation_scope,
    )


def failed(spans):
    """The same spans with an exception event each, whose traceback is long."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    for span in spans:
        one = provider.get_tracer("t").start_span(span.name, attributes=span.attributes)
        one.add_event("exception", {"exception.type": "ValueError", "exception.stacktrace": "line\n" * 300})
        one.end()
    return exporter.get_finished_spans()


KNOWN = sdk_spans(lambda i: ATTRIBUTES)
LIGHT = [light(span) for span in KNOWN]
FAILED = failed(KNOWN)


def two_fresh(turn):
    return [light(s) for s in sdk_spans(lambda i: {**ATTRIBUTES, "url.path": f"/{turn}/{i}", "n": turn * BATCH + i})]


def all_fresh(turn):
    return [light(s) for s in sdk_spans(lambda i: {key: f"{value} {turn} {i}" for key, value in ATTRIBUTES.items()})]


CASES = {  # what makes the batch of a turn; fresh ones are never seen twice
    "SDK spans, 6 known attributes": lambda turn: KNOWN,
    "light spans, 6 known attributes": lambda turn: LIGHT,
    "light spans, 6 known and 2 fresh attributes": two_fresh,
    "light spans, 6 fresh attributes": all_fresh,
    "SDK spans with an exception event": lambda turn: FAILED,
}
ENCODERS = {
    "upstream": lambda spans: upstream(spans).SerializePartialToString(),
    "ours, gRPC": lambda spans: encode_spans(spans).SerializePartialToString(),
    "ours, HTTP": lambda spans: encode_spans_for_http(spans).SerializePartialToString(),
}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    rounds = parser.parse_args().rounds
    logging.disable()
    print(f"us/span, bytes at the end, batches of {BATCH}\n| | " + " | ".join(ENCODERS) + " |\n|-|" + "-|" * len(ENCODERS))
    turn = 0
    for name, make in CASES.items():
        taken = {encoder: [] for encoder in ENCODERS}
        for _ in range(rounds):
            for encoder, encode in ENCODERS.items():
                batch = make(turn := turn + 1)
                gc.collect()
                begin = time.thread_time()
                encode(batch)
                taken[encoder].append((time.thread_time() - begin) / len(batch) * 1e6)
        best = {encoder: min(times) for encoder, times in taken.items()}
        print(f"| {name} | " + " | ".join(f"{us:.2f} ({best['upstream'] / us:.1f}x)" for us in best.values()) + " |")


main()
