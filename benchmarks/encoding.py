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


def failed(span):
    """With an exception event, of which the traceback is long."""
    exporter, provider = InMemorySpanExporter(), TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    one = provider.get_tracer("t").start_span(span.name, attributes=span.attributes)
    one.add_event("exception", {"exception.type": "ValueError", "exception.stacktrace": "line\n" * 300})
    one.end()
    return exporter.get_finished_spans()[0]


def batches(rounds):
    """Name of a case, and the batch of each round."""
    known = sdk_spans(lambda i: ATTRIBUTES)
    yield "SDK spans, 6 known attributes", [known] * rounds
    yield "light spans, 6 known attributes", [[light(span) for span in known]] * rounds
    fresh = [
        [light(span) for span in sdk_spans(lambda i, r=r: {**ATTRIBUTES, "url.path": f"/{r}/{i}", "n": r * BATCH + i})]
        for r in range(rounds)
    ]
    yield "light spans, 6 known and 2 fresh attributes", fresh
    fresh = [
        [light(span) for span in sdk_spans(lambda i, r=r: {key: f"{value} {r} {i}" for key, value in ATTRIBUTES.items()})]
        for r in range(rounds)
    ]
    yield "light spans, 6 fresh attributes", fresh
    yield "SDK spans with an exception event", [[failed(span) for span in known]] * rounds


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
    print(f"us/span, bytes at the end, batches of {BATCH}\n| |" + " | ".join(ENCODERS) + " |\n|-|" + "-|" * len(ENCODERS))
    for name, spans in batches(rounds):
        taken = {encoder: [] for encoder in ENCODERS}
        for number, batch in enumerate(spans):
            for encoder, encode in ENCODERS.items():
                if encoder == "ours, HTTP" and "fresh" in name:
                    continue  # would find what gRPC has just remembered
                gc.collect()
                begin = time.thread_time()
                encode(batch)
                taken[encoder].append((time.thread_time() - begin) / BATCH * 1e6)
        best = {encoder: min(times) for encoder, times in taken.items() if times}
        cells = [f"{best[e]:.2f} ({best['upstream'] / best[e]:.1f}x)" if e in best else "-" for e in ENCODERS]
        print(f"| {name} | " + " | ".join(cells) + " |")


main()
