"""What loading and compiling a template takes: a number on its first span, and a span where it is long."""

from __future__ import annotations

import jinja2
import pytest
from django.template import Context, Engine, TemplateDoesNotExist, TemplateSyntaxError
from opentelemetry import trace as otel

from clew.testing import tracing

SOURCES = {
    "shop/base.html": "<{% block body %}{% endblock %}>",
    "shop/page.html": '{% extends "shop/base.html" %}{% block body %}{% include "shop/card.html" %}{% endblock %}',
    "shop/card.html": "card",
    "shop/broken.html": "{% if %}",
}
CACHED = [("django.template.loaders.cached.Loader", [("django.template.loaders.locmem.Loader", SOURCES)])]
UNCACHED = [("django.template.loaders.locmem.Loader", SOURCES)]
LOAD = "django.template.load_ms"


def django_engine(loaders=CACHED):
    engine = Engine(loaders=loaders)
    return lambda name: engine.get_template(name).render(Context())


def jinja_engine(**options):
    environment = jinja2.Environment(loader=jinja2.DictLoader(SOURCES), **options)
    return lambda name: environment.get_template(name).render()


ENGINES = pytest.mark.parametrize("make", [django_engine, jinja_engine], ids=["django", "jinja2"])


def pages(render, times=2, name="shop/page.html", **settings):
    """What each of several requests has."""
    found = []
    for _ in range(times):
        with tracing(**settings) as trace:
            with otel.get_tracer("test").start_as_current_span("root"):
                render(name)
            found.append(trace.spans)
    return found


def numbers(spans):
    return sorted(span.attributes["django.template.name"] for span in spans if LOAD in (span.attributes or {}))


@ENGINES
def test_the_first_span_of_each_template_says_how_long_it_took_to_load(make):
    first, second = pages(make(), template_load_threshold_ms=60_000)
    assert numbers(first) == ["shop/base.html", "shop/card.html", "shop/page.html"]
    assert all(span.attributes[LOAD] > 0 for span in first if LOAD in span.attributes)
    assert numbers(second) == []
    assert not [span.name for span in first if span.name.startswith("load ")]


@ENGINES
def test_a_long_one_is_a_span_below_what_asked_for_it(make):
    first, second = pages(make(), template_load_threshold_ms=0)
    loads = [span for span in first if span.name.startswith("load ")]
    assert sorted(span.attributes["django.template.name"] for span in loads) == [
        "shop/base.html",
        "shop/card.html",
        "shop/page.html",
    ]
    assert {span.attributes["django.template.role"] for span in loads} == {"load"}
    (page,) = [span for span in loads if span.attributes["django.template.name"] == "shop/page.html"]
    (root,) = [span for span in first if span.name == "root"]
    assert page.parent.span_id == root.context.span_id
    assert page.start_time <= page.end_time
    assert not [span.name for span in second if span.name.startswith("load ")]


def test_a_loader_without_a_cache_says_so_each_time():
    first, second = pages(django_engine(UNCACHED), template_load_threshold_ms=60_000)
    assert numbers(first) == numbers(second) == ["shop/base.html", "shop/card.html", "shop/page.html"]


def test_a_jinja_environment_without_a_cache_says_so_each_time():
    first, second = pages(jinja_engine(cache_size=0), template_load_threshold_ms=60_000)
    assert numbers(first) == numbers(second) == ["shop/base.html", "shop/card.html", "shop/page.html"]


@pytest.mark.parametrize(
    ("make", "missing", "broken"),
    [
        (django_engine, TemplateDoesNotExist, TemplateSyntaxError),
        (jinja_engine, jinja2.TemplateNotFound, jinja2.TemplateSyntaxError),
    ],
    ids=["django", "jinja2"],
)
def test_what_cannot_be_loaded_raises_as_ever_and_is_no_span(make, missing, broken):
    render = make()
    for name, error in (("shop/none.html", missing), ("shop/broken.html", broken)):
        with tracing(template_load_threshold_ms=0) as trace:
            with pytest.raises(error), otel.get_tracer("test").start_as_current_span("root"):
                render(name)
            assert [span.name for span in trace.spans] == ["root"]


@ENGINES
def test_outside_of_any_span_nothing_is_kept(make):
    render = make()
    with tracing(template_load_threshold_ms=0) as trace:
        render("shop/page.html")
        assert trace.spans == ()
    (spans,) = pages(render, times=1, template_load_threshold_ms=0)
    assert numbers(spans) == []
