"""A leaf is a light span of which only what differs is there, until somebody asks for more."""

from __future__ import annotations

import pytest
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.trace import SpanKind

from clew.export.light_encoding import encode_light
from clew.spans import folding
from clew.spans import scope as spans
from clew.spans.identity import StaticAttributes
from clew.spans.leaf import Kind, Leaf, leave
from clew.spans.light_span import LightSpan
from clew.spans.pipeline import Pipeline
from clew.story import findings
from clew.story.findings import Finding

SCOPE = spans.Scope("tests.core")
LIKE = Kind(SCOPE.instrumentation_scope, "SELECT shop", SpanKind.CLIENT, StaticAttributes({"db.system.name": "sqlite"}))


class Bench:
    """A root, and what is handed over below it."""

    def __init__(self, **options):
        self.ended, self.encoded = [], {}
        self.provider = TracerProvider(shutdown_on_exit=False, **options)
        self.pipeline = Pipeline(self.provider, deliver=self.take)
        spans.install(self.pipeline)
        self.root = spans.start_root(self.pipeline, "tests.core", "root", SpanKind.SERVER, otel.Context({}))

    def take(self, ended):
        self.ended += ended
        self.encoded.update({span: (type(span), encode_light(span), type(span)) for span in ended})

    def leave(self, key="key", **attributes):
        return leave(self.root, key, LIKE, attributes, 5, 9)

    def opened(self, **attributes):
        """The same, as any other span."""
        span = SCOPE.under(self.root, LIKE.name, attributes, LIKE.kind, start_ns=5, static=LIKE.static)
        span.above, span.end_time = self.root, 9
        folding.fold(span, self.root, "other key")
        return span


@pytest.fixture
def bench():
    before = spans.pipeline()
    yield Bench
    spans.install(before)


def without_id(encoded, span):
    return encoded[2].replace(span.span_id, b"")


def test_a_leaf_leaves_as_the_bytes_of_a_light_span_and_never_becomes_one(bench):
    made = bench()
    leaf, other = made.leave(rows=3), made.opened(rows=3)
    made.root.close()
    assert made.ended == [leaf, other, made.root]
    (before, sent, after), (_, expected, _) = made.encoded[leaf], made.encoded[other]
    assert without_id(sent, leaf) == without_id(expected, other)
    assert sent[:2] == expected[:2]
    assert before is after is Leaf


def test_who_reads_one_finds_a_light_span(bench):
    made = bench()
    leaf = made.leave(rows=3)
    made.root.close()
    readable = leaf.readable()
    assert (readable.name, readable.kind) == ("SELECT shop", SpanKind.CLIENT)
    assert dict(readable.attributes) == {"db.system.name": "sqlite", "rows": 3}
    assert (readable.start_time, readable.end_time) == (5, 9)
    assert readable.parent == made.root.context
    assert readable.context.trace_id == made.root.context.trace_id
    assert readable.context.span_id == int.from_bytes(leaf.span_id, "big") != 0
    assert type(leaf) is LightSpan


def test_what_is_added_to_it_while_it_waits_is_said(bench):
    made = bench()
    leaf = made.leave(rows=3)
    leaf.add("rows", 2)
    made.root.close()
    assert dict(leaf.readable().attributes)["rows"] == 5


def test_equals_are_counted_on_it(bench):
    made = bench()
    leaf = made.leave()
    folding.count_repeat(leaf, 10)
    assert made.leave() is None
    made.root.close()
    readable = leaf.readable()
    assert readable.attributes["clew.folded.count"] == 2
    assert readable.end_time - readable.start_time == 14


def test_a_parent_that_is_folded_takes_its_leaves_along(bench):
    made = bench()
    for _ in range(2):
        part = SCOPE.under(made.root, "template part.html", {})
        assert leave(part, "key", LIKE, {"rows": 1}, 5, 9) is not None
        folding.close_folded(part, made.root, "part")
    made.root.close()
    by_name = {span.name: span.readable() for span in made.ended}
    assert len(made.ended) == 3
    assert by_name["SELECT shop"].attributes["clew.folded.count"] == 2
    assert by_name["SELECT shop"].parent == by_name["template part.html"].context


def test_what_an_equal_has_found_is_said_on_it(bench):
    made = bench()
    parts = []
    for _ in range(2):
        part = SCOPE.under(made.root, "template part.html", {})
        parts.append(leave(part, "key", LIKE, {}, 5, 9))
        finding = Finding("n_plus_one", "a query for each", "do not", None)
        if len(parts) == 2:
            findings.attach(parts[-1], finding)
        folding.close_folded(part, made.root, "part")
    made.root.close()
    (event,) = parts[0].readable().events
    assert event.name == "clew.finding.n_plus_one"


def test_one_too_many_of_its_kind_is_dropped_and_counted(bench):
    made = bench()
    made.pipeline.max_spans_per_parent = 1
    first, second = made.leave("first"), made.leave("second")
    made.root.end_time = None
    made.root.close()
    assert first in made.ended
    assert second not in made.ended


@pytest.mark.parametrize(
    "options", [{"span_limits": SpanLimits(max_attribute_length=10)}, {"span_limits": SpanLimits(max_attributes=2)}]
)
def test_where_attributes_are_limited_there_are_none(bench, options):
    assert bench(**options).leave() is None


def test_where_a_processor_wants_to_know_of_a_start_there_are_none(bench):
    class Starting(SpanProcessor):
        def on_start(self, span, parent_context=None):
            pass

    made = bench()
    assert made.leave() is not None
    made.provider.add_span_processor(Starting())
    assert made.leave("another") is None


def test_the_limit_of_a_parent_holds(bench):
    made = bench()
    made.pipeline.max_folds = 1
    assert made.leave("first") is not None
    assert made.leave("second") is None
    assert made.root.children == 1
