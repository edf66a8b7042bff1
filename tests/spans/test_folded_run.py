"""What is folded already is counted; a run in which something happens is a span, with all that was in it."""

from __future__ import annotations

import itertools
import threading

import pytest
from django.db import connection
from django.http import HttpResponse
from django.template import Context, Engine
from django.test import Client, override_settings
from django.urls import path
from opentelemetry import context as otel_context
from opentelemetry import trace as otel

from clew.spans.folded_run import RunCursor
from clew.testing import tracing

COUNT, QUERIES = "clew.folded.count", "django.template.query_count"


class Said:
    """What a template calls: something of the n-th run's."""

    def __init__(self, at=0, act=lambda: ""):
        self.at, self.act, self.calls = at, act, 0

    def __str__(self):
        self.calls += 1
        return str(self.act() or "") if self.calls == self.at else ""


PAGES = {
    "page": "{% for each in rows %}{% include 'outer' %}{% endfor %}",
    "outer": "{% include 'inner' %}{{ early }}{% include 'inner' %}",
    "inner": "-{{ late }}",
}


# In one of the six something happened; what it was is still to be said.
ONE_OF_SIX = """\
root
  template page
    template outer count=5
      template inner count=10
    template outer
      template inner count=2
"""


@pytest.fixture
def trace():
    with tracing() as captured:
        yield captured


def engine(pages=PAGES):
    loader = ("django.template.loaders.locmem.Loader", pages)
    return Engine(loaders=[("django.template.loaders.cached.Loader", [loader])])


def render(rows=6, pages=PAGES, **said):
    with otel.get_tracer("tests").start_as_current_span("root"):
        before = otel_context.get_current()
        try:
            return engine(pages).get_template("page").render(Context({"rows": range(rows), **said}))
        finally:
            assert otel_context.get_current() is before


def tree(trace):
    return trace.tree(COUNT, QUERIES)


def test_what_happens_in_none_is_counted(trace):
    assert render() == "--" * 6
    assert tree(trace) == "root\n  template page\n    template outer count=6\n      template inner count=12"


def test_a_span_in_one_of_them_makes_it_a_span(trace):
    def work():
        with otel.get_tracer("tests").start_as_current_span("work"):
            return "!"

    assert render(early=Said(4, work)) == "------" + "-!-" + "----"
    assert tree(trace) == f"{ONE_OF_SIX}      work"


def test_one_inside_another_makes_both(trace):
    def work():
        with otel.get_tracer("tests").start_as_current_span("work"):
            return ""

    render(late=Said(6, work))
    assert tree(trace) == (
        "root\n"
        "  template page\n"
        "    template outer count=5\n"
        "      template inner count=10\n"
        "    template outer\n"
        "      template inner\n"
        "      template inner\n"
        "        work"
    )


@pytest.mark.django_db
def test_queries_are_below_the_run_they_are_of(trace):
    def query():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    render(early=Said(3, query))
    assert tree(trace) == f"{ONE_OF_SIX}      CLIENT SELECT"


def asking(act, rows):
    """A request whose page does something in each of its includes."""

    class Always:
        def __str__(self):
            return str(act() or "")

    def view(request):
        return HttpResponse(engine().get_template("page").render(Context({"rows": range(rows), "early": Always()})))

    urls = type("urls", (), {"urlpatterns": [path("", view)]})
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        assert Client().get("/").content == b"--" * rows


@pytest.mark.django_db
def test_each_run_says_how_many_queries_it_had():
    def query():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    with tracing() as trace:
        asking(query, 4)
    outers = [span for span in trace.spans if span.name == "template outer"]
    assert sum(span.attributes[QUERIES] for span in outers) == 4
    assert trace.named("template page").attributes[QUERIES] == 4


def test_the_limit_of_a_trace_is_not_passed():
    """Where a run would be one span too many, what is in it is below the span above, and the root says so."""
    quiet, rows = itertools.count(), 60

    def work():
        if next(quiet) >= 3:
            with otel.get_tracer("tests").start_as_current_span("work"):
                pass

    with tracing(max_spans_per_trace=20) as trace:
        asking(work, rows)
    works, ours = ([span for span in trace.spans if (span.name == "work") is is_work] for is_work in (True, False))
    (root,) = [span for span in ours if span.parent is None]
    assert (len(works), len(ours)) == (rows - 3, 21)
    outers = sum(span.name == "template outer" for span in ours) - 1  # the first of all stands for those without work
    assert root.attributes["clew.spans.dropped"] == len(works) - outers
    assert {span.parent.span_id for span in works} <= {span.context.span_id for span in ours}


def test_what_is_rendered_again_in_one_that_is_a_span_is_counted_there(trace):
    def include():
        with otel.get_tracer("tests").start_as_current_span("work"):
            pass

    pages = {**PAGES, "outer": "{{ early }}" + "{% include 'inner' %}" * 9}
    render(pages=pages, early=Said(3, include))
    assert tree(trace) == (
        "root\n"
        "  template page\n"
        "    template outer count=5\n"
        "      template inner count=45\n"
        "    template outer\n"
        "      work\n"
        "      template inner count=9"
    )


def test_what_is_said_on_the_current_span_is_said_on_the_run(trace):
    def say():
        span = otel.get_current_span()
        assert (type(span), span.name, span.is_recording()) == (RunCursor, "template outer", True)
        span.set_attribute("mine", 1)
        span.add_event("seen")

    render(early=Said(5, say))
    said, *others = sorted(
        [span for span in trace.spans if span.name == "template outer"], key=lambda span: span.attributes.get(COUNT, 0)
    )
    assert (said.attributes["mine"], [event.name for event in said.events]) == (1, ["seen"])
    assert [(each.attributes.get("mine"), each.attributes[COUNT]) for each in others] == [(None, 5)]


def test_an_error_is_on_the_run_it_leaves(trace):
    def fail():
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        render(late=Said(4, fail))
    failed = [span.name for span in trace.spans if not span.status.is_ok]
    assert failed == ["template inner", "template outer", "template page", "root"]
    counts = [span.attributes.get(COUNT) for span in trace.spans if span.name == "template outer"]
    assert sorted(counts, key=bool) == [None, None]


def test_times_add_up(trace):
    render(rows=50)
    (outer,) = [span for span in trace.spans if span.name == "template outer"]
    took_ms = (outer.end_time - outer.start_time) / 1e6
    assert 0 < outer.attributes["clew.folded.duration_ms"] <= took_ms


def test_two_threads_at_once(trace):
    """They render below the same span: each gets its own text, and every run is counted once."""
    inner = engine().get_template("inner")
    meet = threading.Barrier(2)

    def work(context):
        token = otel_context.attach(context)
        meet.wait()
        for _ in range(200):
            inner.render(Context({"late": "x"}))
        otel_context.detach(token)

    with otel.get_tracer("tests").start_as_current_span("root"):
        inner.render(Context())
        threads = [threading.Thread(target=work, args=(otel_context.get_current(),)) for _ in range(2)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
    assert sum(span.attributes.get(COUNT, 1) for span in trace.spans if span.name == "template inner") == 401


def test_an_open_run_that_outlives_its_context(trace):
    kept = []
    render(early=Said(2, lambda: kept.append(otel.get_current_span())))
    (run,) = kept
    assert run.is_recording() is False
    run.set_attribute("late", 1)
    assert run.get_span_context().is_valid
    assert not any("late" in span.attributes for span in trace.spans)


def test_what_is_said_between_two_runs_is_said_on_the_page(trace):
    said = "{{ early }}"
    act = Said(3, lambda: otel.get_current_span().set_attribute("mine", 1))
    render(
        pages={**PAGES, "page": "{% for each in rows %}{% include 'outer' %}" + said + "{% endfor %}", "outer": "-"},
        early=act,
    )
    assert trace.named("template page").attributes["mine"] == 1
    assert tree(trace) == "root\n  template page\n    template outer count=6"


@pytest.mark.django_db
def test_queries_of_a_page_between_its_runs_and_in_them():
    """The same query of a loop's page and, now and then, of what it includes: each below its own span."""
    asked = itertools.count()

    def query():
        with connection.cursor() as cursor:
            cursor.execute("SELECT 1")

    class Sometimes:
        def __str__(self):
            return query() or "" if next(asked) % 10 == 5 else ""

    class Always:
        def __str__(self):
            return query() or ""

    pages = {
        "page": "{% for each in rows %}{% include 'part' %}{{ always }}{% endfor %}",
        "part": "-{{ sometimes }}",
    }

    def view(request):
        said = {"rows": range(30), "always": Always(), "sometimes": Sometimes()}
        return HttpResponse(engine(pages).get_template("page").render(Context(said)))

    urls = type("urls", (), {"urlpatterns": [path("", view)]})
    with tracing() as trace, override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        assert Client().get("/").content == b"-" * 30
    page = trace.named("template page")
    queries = [span for span in trace.spans if span.name == "SELECT"]
    parts = [span for span in trace.spans if span.name == "template part"]
    below = [span.attributes.get(COUNT, 1) for span in queries if span.parent.span_id == page.context.span_id]
    assert sum(below) == 30
    assert sum(span.attributes.get(QUERIES, 0) for span in parts) == 3
    assert sum(span.attributes.get(COUNT, 1) for span in queries) == 33
    assert sum(span.attributes.get(COUNT, 1) for span in parts) == 30


def test_two_threads_below_one_template(trace):
    """One of them is counted, the other makes spans; no run is lost, and nothing is current afterwards."""
    inner = engine().get_template("inner")

    def work(context):
        token = otel_context.attach(context)
        for _ in range(100):
            inner.render(Context({"late": "x"}))
        otel_context.detach(token)

    def meanwhile():
        context = otel_context.get_current()
        threads = [threading.Thread(target=work, args=(context,)) for _ in range(2)]
        for each in threads:
            each.start()
        for _ in range(100):
            inner.render(Context())
        for each in threads:
            each.join()
        assert otel_context.get_current() is context or otel.get_current_span().name == "template page"

    render(
        rows=6,
        pages={"page": "{% for each in rows %}{% include 'inner' %}{% endfor %}{{ early }}", "inner": "-{{ late }}"},
        early=Said(1, meanwhile),
    )
    counted = sum(span.attributes.get(COUNT, 1) for span in trace.spans if span.name == "template inner")
    assert counted == 306
