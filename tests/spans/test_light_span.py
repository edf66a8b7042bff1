"""The light span against the SDK's own: who reads it cannot tell them apart."""

from __future__ import annotations

import time

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import (
    ALWAYS_ON,
    Decision,
    ParentBased,
    Sampler,
    SamplingResult,
    TraceIdRatioBased,
)
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from clew.spans import scope as spans
from clew.spans.folding import close_folded
from clew.spans.light_span import LightSpan
from clew.spans.pipeline import Pipeline

SCOPE = spans.Scope("tests.core")


class Bench:
    """A provider with a pipeline on it."""

    def __init__(self, **options):
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider(shutdown_on_exit=False, **options)
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        spans.install(Pipeline(self.provider))

    def spans(self):
        return {span.name: span for span in self.exporter.get_finished_spans()}


@pytest.fixture
def bench():
    def make(**options):
        return Bench(**options)

    before = spans.pipeline()
    yield make
    spans.install(before)


def in_root(made, body):
    with made.provider.get_tracer("tests").start_as_current_span("root"):
        return body()


def exercise(span):
    span.set_attribute("a", 1)
    span.set_attributes({"b": "x" * 50, "c": [1, 2]})
    span.add_event("event", {"d": "y" * 50}, 5)
    span.add_link(SpanContext(1, 2, True, TraceFlags(1)), {"e": 1})
    span.add_link(SpanContext(0, 0, False))
    span.update_name("renamed")
    span.set_status(StatusCode.ERROR, "why")
    span.set_status(Status(StatusCode.UNSET))
    span.end(99)
    span.set_attribute("late", 1)
    span.end(100)


def shape(span):
    return (
        span.name,
        span.kind,
        dict(span.attributes),
        [(event.name, dict(event.attributes), event.timestamp) for event in span.events],
        [(link.context.span_id, dict(link.attributes)) for link in span.links],
        (span.status.status_code, span.status.description),
        span.end_time,
        (span.dropped_attributes, span.dropped_events, span.dropped_links),
        span.is_recording() if hasattr(span, "is_recording") else False,
    )


@pytest.mark.parametrize(
    "limits",
    [
        SpanLimits(),
        SpanLimits(max_span_attributes=2, max_attribute_length=10, max_events=1, max_links=1),
        SpanLimits(max_span_attributes=0, max_events=0, max_links=0),
    ],
)
def test_everything_a_span_can_do_is_as_the_sdk_does_it(bench, limits):
    made = bench(span_limits=limits)

    def both():
        exercise(made.provider.get_tracer("tests.core").start_span("theirs"))
        light = SCOPE.under(otel.get_current_span(), "ours", {})
        assert isinstance(light, LightSpan)
        exercise(light)

    in_root(made, both)
    theirs, ours, root = made.exporter.get_finished_spans()
    assert shape(ours) == shape(theirs)
    assert ours.parent == theirs.parent == root.context
    assert ours.resource == theirs.resource
    assert ours.instrumentation_scope.name == "tests.core"
    assert '"name": "renamed"' in ours.to_json()


def test_exceptions_are_recorded_once_where_they_were_raised(bench):
    made = bench()

    def nested():
        error = ValueError("deep")
        outer, inner = SCOPE.open("outer"), SCOPE.open("inner")
        inner.close(error)
        outer.close(error)

    from clew.story import local_trace

    token = local_trace.enter(local_trace.LocalTrace(spans.SdkSpan(otel.INVALID_SPAN), 10))
    in_root(made, nested)
    local_trace.leave(token)
    found = made.spans()
    assert [len(found[name].events) for name in ("inner", "outer")] == [1, 0]
    assert found["outer"].attributes["error.type"] == "ValueError"
    assert found["outer"].status.description == "ValueError: deep"


class Seen(SpanProcessor):
    def __init__(self):
        self.seen = []

    def on_start(self, span, parent_context=None):
        span.set_attribute("stamped", True)
        self.seen.append(("start", span.name))

    def _on_ending(self, span):
        self.seen.append(("ending", span.name))

    def on_end(self, span):
        self.seen.append(("end", span.name))


def test_processors_of_others_are_served(bench):
    made, seen = bench(), Seen()
    made.provider.add_span_processor(seen)
    in_root(made, lambda: SCOPE.open("ours").close())
    assert [step for step, name in seen.seen if name == "ours"] == ["start", "ending", "end"]
    assert made.spans()["ours"].attributes["stamped"] is True


class Raising(SpanProcessor):
    def on_start(self, span, parent_context=None):
        raise RuntimeError("someone else's")

    def on_end(self, span):
        raise RuntimeError("someone else's")


def test_a_raising_processor_does_not_reach_the_application(bench, caplog):
    from clew.engine import isolation

    made = bench()

    def body():
        isolation.is_strict = False
        made.provider.add_span_processor(Raising())
        SCOPE.open("ours").close()
        made.provider._active_span_processor._span_processors = made.provider._active_span_processor._span_processors[
            :1
        ]

    in_root(made, body)
    assert "ours" in made.spans()


class Choosy(Sampler):
    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, links=None, trace_state=None):
        return SamplingResult(Decision.DROP if name == "dropped" else Decision.RECORD_AND_SAMPLE, {"sampled": "yes"})

    def get_description(self):
        return "Choosy"


def test_a_sampler_that_is_not_parent_based_is_asked_for_every_span(bench):
    made = bench(sampler=Choosy())

    def body():
        SCOPE.open("kept").close()
        dropped = SCOPE.open("dropped")
        dropped.close()

    in_root(made, body)
    assert set(made.spans()) == {"root", "kept"}
    assert made.spans()["kept"].attributes["sampled"] == "yes"


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ParentBased(TraceIdRatioBased(1.0)), Choosy()])
@pytest.mark.parametrize("has_parent", [True, False])
def test_roots_are_sampled_as_the_sdk_samples_them(bench, sampler, has_parent):
    made = bench(sampler=sampler)
    context = None
    if has_parent:
        state = otel.TraceState([("k", "v")])
        remote = SpanContext(7, 8, True, TraceFlags(1), state)
        context = otel.set_span_in_context(otel.NonRecordingSpan(remote))
    pipeline = spans.pipeline()
    other = SpanContext(3, 4, True, TraceFlags(1))
    ours = spans.start_root(pipeline, "tests.core", "ours", SpanKind.SERVER, context, {"a": 1}, [Link(other, {"b": 2})])
    ours.close()
    tracer = made.provider.get_tracer("tests.core")
    tracer.start_span("theirs", context, SpanKind.SERVER, {"a": 1}, [Link(other, {"b": 2})]).end()
    found = made.spans()
    ours, theirs = found["ours"], found["theirs"]
    assert ours.parent == theirs.parent
    assert (ours.context.trace_id == theirs.context.trace_id) is has_parent
    assert (ours.context.trace_flags, ours.context.trace_state) == (
        theirs.context.trace_flags,
        theirs.context.trace_state,
    )
    assert dict(ours.attributes) == dict(theirs.attributes)
    assert [dict(link.attributes) for link in ours.links] == [{"b": 2}]


def test_unsampled_root_records_nothing_below(bench):
    made = bench(sampler=ParentBased(TraceIdRatioBased(0.0)))
    root = spans.start_root(spans.pipeline(), "tests.core", "root", SpanKind.SERVER, None)
    root.enter()
    assert SCOPE.open("detail") is None
    root.close()
    assert made.spans() == {}


def test_equal_leaves_fold(bench):
    made = bench()

    def body():
        parent = SCOPE.open("parent")
        for _ in range(10):
            close_folded(SCOPE.open("leaf", {"which": "x"}), parent, "x")
        other = SCOPE.open("leaf", {"which": "y"})
        SCOPE.open("below").close()
        close_folded(other, parent, "x")
        parent.close()

    in_root(made, body)
    leaves = [span for span in made.exporter.get_finished_spans() if span.name == "leaf"]
    assert sorted(span.attributes.get("clew.folded.count", 1) for span in leaves) == [1, 10]


def test_a_folded_span_lasts_as_long_as_its_runs_together(bench):
    made = bench()

    def body():
        parent = SCOPE.open("parent")
        for _ in range(3):
            close_folded(SCOPE.open("leaf"), parent, "x")
            time.sleep(0.02)
        parent.close()

    in_root(made, body)
    (leaf,) = [span for span in made.exporter.get_finished_spans() if span.name == "leaf"]
    assert leaf.attributes["clew.folded.count"] == 3
    assert leaf.end_time - leaf.start_time == round(leaf.attributes["clew.folded.duration_ms"] * 1e6) < 20_000_000


def test_equal_subtrees_fold_as_a_whole(bench):
    made = bench()

    def row(parent, cells):
        span = SCOPE.open("row")
        for cell in cells:
            close_folded(SCOPE.open(cell), span, cell)
        close_folded(span, parent, "row")

    def body():
        parent = SCOPE.open("parent")
        for number in range(50):
            row(parent, ["a", "a", "b"] if number else ["a", "b", "c"])
        parent.close()

    in_root(made, body)
    found = made.spans()
    assert len(made.exporter.get_finished_spans()) == 6
    assert {name: span.attributes.get("clew.folded.count") for name, span in found.items()} == {
        "root": None,
        "parent": None,
        "row": 50,
        "a": 99,
        "b": 50,
        "c": None,
    }
    assert {found[name].parent.span_id for name in "abc"} == {found["row"].context.span_id}
    assert all(span.parent.span_id for span in made.exporter.get_finished_spans() if span.name != "root")


def test_what_the_application_opened_below_is_not_folded_away(bench):
    made = bench()

    def body():
        parent = SCOPE.open("parent")
        for number in range(3):
            span = SCOPE.open("row")
            with made.provider.get_tracer("app").start_as_current_span(f"work {number}"):
                pass
            close_folded(span, parent, "row")
        parent.close()

    in_root(made, body)
    assert len([span for span in made.exporter.get_finished_spans() if span.name == "row"]) == 3


def test_the_limit_of_a_trace_is_kept_and_counted(bench):
    from clew.story import local_trace

    made = bench()
    local = local_trace.LocalTrace(spans.SdkSpan(otel.INVALID_SPAN), 3)
    token = local_trace.enter(local)
    in_root(made, lambda: [span.close() for span in [SCOPE.open("detail") for _ in range(5)] if span])
    local_trace.leave(token)
    assert len(made.exporter.get_finished_spans()) == 4
    assert local.dropped == 2
