"""A span has so many spans of one kind below it and no more; nothing that says more than its time is dropped."""

from __future__ import annotations

import pytest
from opentelemetry import trace as otel
from opentelemetry.trace import SpanKind

from clew.spans import scope as spans
from clew.story import local_trace
from clew.story.findings import Finding
from clew.testing import tracing

ONE, OTHER = spans.Scope("clew.seams.django.view"), spans.Scope("clew.seams.django.template")
LIMIT = 20
DROPPED = "clew.spans.dropped_below"


def below_a_root(body):
    """The spans of a request, and what its local trace still allows."""
    with tracing(max_spans_per_parent=LIMIT) as trace:
        pipeline = spans.pipeline()
        root = spans.start_root(pipeline, "clew.seams.django.request", "GET page/", SpanKind.SERVER, None)
        local = local_trace.LocalTrace(root, 2000)
        token = local_trace.enter(local)
        root.enter()
        body(local)
        local.finish()
        root.close()
        local_trace.leave(token)
        return trace, local


def many(count, scope=ONE, name="view page"):
    for _ in range(count):
        scope.open(name).close()


def test_more_of_one_kind_are_counted_on_their_parent():
    trace, local = below_a_root(lambda _: many(10 * LIMIT))
    kept = [span for span in trace.spans if span.name == "view page"]
    # The first are not looked at by kind.
    assert LIMIT <= len(kept) <= 2 * LIMIT
    assert trace.named("GET page/").attributes[DROPPED] == 10 * LIMIT - len(kept)
    assert local.spans_left == 2000 - len(kept)


def test_a_few_are_all_there():
    trace, _ = below_a_root(lambda _: many(LIMIT))
    assert len(trace.spans) == LIMIT + 1
    assert DROPPED not in trace.named("GET page/").attributes


def test_each_kind_has_its_own_bound():
    def body(_):
        many(5 * LIMIT)
        many(LIMIT, OTHER, "template page")

    trace, _ = below_a_root(body)
    assert len([span for span in trace.spans if span.name == "template page"]) == LIMIT


def test_each_parent_has_its_own_bound():
    def body(_):
        for _ in range(3):
            outer = OTHER.open("template outer")
            many(LIMIT)
            outer.close()

    trace, _ = below_a_root(body)
    assert len(trace.spans) == 3 * LIMIT + 3 + 1


def _fails():
    ONE.open("view said").close(ValueError("no"))


def _finds(local):
    span = ONE.open("view said")
    local.report(Finding("slow_query", "slow", "be quick"), object(), span)
    span.close()


def _has_a_child():
    span = ONE.open("view said")
    with otel.get_tracer("user").start_as_current_span("user work"):
        pass
    span.close()


def _is_written_on():
    span = ONE.open("view said")
    otel.get_current_span().set_attribute("order", 7)
    span.close()


@pytest.mark.parametrize("say", [lambda _: _fails(), _finds, lambda _: _has_a_child(), lambda _: _is_written_on()])
def test_what_says_more_than_its_time_is_never_dropped(say):
    def body(local):
        many(10 * LIMIT)
        for _ in range(3):
            say(local)

    trace, _ = below_a_root(body)
    assert len([span for span in trace.spans if span.name == "view said"]) == 3
    here = {span.context.span_id for span in trace.spans}
    assert all(span.parent is None or span.parent.span_id in here for span in trace.spans)


def test_publishes_are_never_dropped():
    def body(_):
        many(10 * LIMIT)
        for number in range(3):
            publish = spans.start_root(
                spans.pipeline(), "clew.seams.celery.publish", f"apply_async/{number}", SpanKind.PRODUCER, None
            )
            publish.enter()
            publish.close()

    trace, _ = below_a_root(body)
    assert len([span for span in trace.spans if span.kind is SpanKind.PRODUCER]) == 3
