"""Jinja2 templates, through Django's backend and by themselves, sync and async, whole and in pieces."""

from __future__ import annotations

import asyncio

import jinja2
import pytest
from django.template import engines
from django.test import Client
from jinja2.nativetypes import NativeEnvironment, NativeTemplate
from opentelemetry import trace as otel

from clew.testing import tracing
from tests.seams.django.test_template import below_view

pytestmark = pytest.mark.urls("tests.site.template_urls")
ROLE, COUNT = "django.template.role", "clew.folded.count"
SOURCES = {
    "base": "<{% block body %}{% endblock %}>",
    "page": '{% extends "base" %}{% block body %}{% for i in items %}{% include "card" %}{% endfor %}{% endblock %}',
    "card": "[{{ i }}]",
    "lines": '{% for i in items %}{{ i }}{% include "traced" %}{% endfor %}',
    "traced": "{{ traced() }}",
    "broken": '{% include "boom" %}',
    "boom": "{{ boom() }}",
    "macros": "{% macro shout(x) %}{{ x }}!{% endmacro %}",
    "imports": '{% from "macros" import shout %}{{ shout("a") }}',
}
PAGE = "root\n  template page role=root\n    template base role=extends\n      template card role=include count=3"


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


def environment(**options):
    return jinja2.Environment(loader=jinja2.DictLoader(SOURCES), **options)


def in_root(body):
    with otel.get_tracer("tests").start_as_current_span("root"):
        return body()


def traced():
    with otel.get_tracer("tests").start_as_current_span("app"):
        return ""


def test_through_djangos_backend(trace, client):
    assert client.get("/j/page.html").content == b"<title>base</title><p>1</p><p>2</p><p>3</p>"
    assert below_view(trace, ROLE, COUNT) == (
        "template j/page.html role=root\n"
        "  template j/base.html role=extends\n"
        "    template j/card.html role=include count=3"
    )


def test_attributes(trace, client):
    client.get("/j/page.html")
    span = trace.named("template j/base.html")
    held = dict(span.attributes)
    assert held.pop("code.file.path").endswith("/tests/site/jinja2/j/base.html")
    held.pop("django.template.load_ms", None)  # of whoever is the first in this process
    assert held == {"django.template.name": "j/base.html", "django.template.engine": "jinja2", ROLE: "extends"}
    assert span.instrumentation_scope.name == "clew.seams.django.jinja2"


def test_render(trace):
    page = environment().get_template("page")
    assert in_root(lambda: page.render(items=[1, 2, 3])) == "<[1][2][3]>"
    assert trace.tree(ROLE, COUNT) == PAGE


def test_includes_with_something_under_them_do_not_fold(trace):
    in_root(lambda: environment().get_template("lines").render(items=[1, 2], traced=traced))
    one = "    template traced role=include\n      app\n"
    assert trace.tree(ROLE, COUNT) == ("root\n  template lines role=root\n" + 2 * one).rstrip()


def test_import(trace):
    assert in_root(lambda: environment().get_template("imports").render()) == "a!"
    assert trace.tree(ROLE) == "root\n  template imports role=root\n    template macros role=import"


def test_render_async(trace):
    page = environment(enable_async=True).get_template("page")
    assert in_root(lambda: asyncio.run(page.render_async(items=[1, 2, 3]))) == "<[1][2][3]>"
    assert trace.tree(ROLE, COUNT) == PAGE


def test_render_of_an_async_environment_is_one_span(trace):
    page = environment(enable_async=True).get_template("page")
    assert in_root(lambda: page.render(items=[1, 2, 3])) == "<[1][2][3]>"
    assert in_root(lambda: "".join(page.generate(items=[1, 2, 3]))) == "<[1][2][3]>"
    assert trace.tree(ROLE, COUNT) == f"{PAGE}\n{PAGE}"


def test_generate_and_the_consumers_code_between_two_pieces(trace):
    def consume():
        seen = []
        for piece in environment().get_template("lines").generate(items=[1, 2], traced=traced):
            seen.append((piece, otel.get_current_span().name))
        return seen

    assert in_root(consume) == [("1", "root"), ("", "root"), ("2", "root"), ("", "root")]
    one = "    template traced role=include\n      app\n"
    assert trace.tree(ROLE, COUNT) == ("root\n  template lines role=root\n" + 2 * one).rstrip()


def test_generate_async(trace):
    async def consume():
        template = environment(enable_async=True).get_template("lines")
        return [
            (piece, otel.get_current_span().name)
            async for piece in template.generate_async(items=[1, 2], traced=traced)
        ]

    assert in_root(lambda: asyncio.run(consume())) == [("1", "root"), ("", "root"), ("2", "root"), ("", "root")]
    one = "    template traced role=include\n      app\n"
    assert trace.tree(ROLE, COUNT) == ("root\n  template lines role=root\n" + 2 * one).rstrip()


def test_a_stream_that_is_left_early(trace):
    def consume():
        stream = iter(environment().get_template("page").generate(items=range(9)))
        first = next(stream)
        stream.close()
        return first, otel.get_current_span().name

    assert in_root(consume) == ("<", "root")
    assert trace.tree(ROLE, "clew.cancelled") == (
        "root\n  template page role=root cancelled=True\n    template base role=extends cancelled=True"
    )


def test_a_streamed_response(trace, client):
    assert b"".join(client.get("/j-stream/")) == b"<title>base</title><p>1</p><p>2</p><p>3</p>"
    assert trace.named("template j/card.html").attributes[COUNT] == 3


def test_an_error_is_the_identical_object_and_recorded_on_the_innermost_span(trace, client):
    error = ValueError("in the template")

    def boom():
        raise error

    with pytest.raises(ValueError, match="in the template") as raised:
        in_root(lambda: environment().get_template("broken").render(boom=boom))
    assert raised.value is error
    trace.clear()
    client.get("/j/broken_page.html")
    assert below_view(trace) == "template j/broken_page.html ERROR\n  template j/broken.html ERROR"
    below = [span for span in trace.spans if span.kind is otel.SpanKind.INTERNAL and span.events]
    assert [span.name for span in below] == ["template j/broken.html"]


def test_native_templates(trace):
    native = NativeEnvironment().from_string("{{ [1, 2] }}")
    assert isinstance(native, NativeTemplate)
    assert in_root(native.render) == [1, 2]
    assert trace.tree(ROLE) == "root\n  template <string> role=root"


def test_expressions_are_no_templates(trace):
    assert in_root(lambda: environment().compile_expression("1 + 1")()) == 2
    assert trace.tree() == "root"


def test_nothing_is_recorded_without_a_recording_span(trace):
    assert environment().get_template("page").render(items=[1]) == "<[1]>"
    assert "".join(environment().get_template("page").generate(items=[1])) == "<[1]>"
    assert trace.spans == ()


def test_templates_loaded_before_are_seen_and_left_as_they_were():
    page = environment().get_template("page")
    own = dict(vars(page))
    places = ["render", "render_async", "generate", "generate_async", "make_module", "make_module_async"]
    before = [vars(jinja2.Template)[name] for name in places]
    with tracing() as trace:
        in_root(lambda: page.render(items=[1, 2, 3]))
        assert trace.tree(ROLE, COUNT) == PAGE
        during = environment().get_template("card")
        assert [vars(jinja2.Template)[name] for name in places] != before
    assert vars(page) == own
    assert "root_render_func" not in vars(jinja2.Template)
    assert [vars(jinja2.Template)[name] for name in places] == before
    assert page.root_render_func is own["root_render_func"]
    assert during.render(i=1) == "[1]"
    with pytest.raises(AttributeError):
        jinja2.Template.root_render_func  # noqa: B018


def test_results_are_equal_with_and_without():
    names = ["page.html", "nested.html"]

    def pages():
        return [engines["jinja2"].get_template(f"j/{name}").render({"items": [1, 2]}) for name in names]

    without = pages()
    with tracing():
        assert in_root(pages) == without
