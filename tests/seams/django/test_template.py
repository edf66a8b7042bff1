"""Django's own templates: the tree of a page, what folds, what is never touched, and what it leaves behind."""

from __future__ import annotations

import django
import pytest
from django import forms
from django.http import HttpResponse
from django.template import Context, Engine, Template, TemplateDoesNotExist, base, engines, loader_tags
from django.template.loader import render_to_string
from django.test import Client, RequestFactory, override_settings
from django.urls import path
from django.utils.functional import SimpleLazyObject, lazystr
from opentelemetry import context as otel_context
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, Decision, Sampler, SamplingResult
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from clew.bootstrap import setup_tracing
from clew.testing import Trace, tracing
from tests.site import template_views

pytestmark = pytest.mark.urls("tests.site.template_urls")
ROLE, COUNT = "django.template.role", "clew.folded.count"
PLACES = [(base.Template, "render"), (loader_tags.BlockNode, "render"), (loader_tags.ExtendsNode, "render")]
PLACES += [(loader_tags.ExtendsNode, "get_parent")]


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


@pytest.fixture
def trace():
    """No block of a test is long, however busy the machine."""
    with tracing(block_threshold_ms=60_000) as captured:
        yield captured


def below_view(trace, *attributes):
    """The tree below the view: phases of the middleware are spans or not, as long as they take."""
    lines = trace.tree(*attributes).splitlines()
    at = next(number for number, line in enumerate(lines) if line.lstrip().startswith("view "))
    depth = len(lines[at]) - len(lines[at].lstrip())
    found = []
    for line in lines[at + 1 :]:
        if len(line) - len(line.lstrip()) <= depth:
            break
        found.append(line[depth + 2 :])
    return "\n".join(found)


def test_a_page_that_extends_and_includes(trace, client):
    client.get("/t/page.html")
    assert below_view(trace, ROLE, COUNT) == (
        "template t/page.html role=root\n"
        "  template t/base.html role=extends\n"
        "    block content role=block\n"
        "      template t/card.html role=include count=3"
    )


def test_attributes(trace, client):
    client.get("/t/page.html")
    root = dict(trace.named("template t/page.html").attributes)
    root.pop("django.template.load_ms", None)  # where it is the first of this process
    assert root.pop("code.file.path").endswith("/tests/site/templates/t/page.html")
    assert root == {"django.template.name": "t/page.html", "django.template.engine": "django", ROLE: "root"}
    parent = trace.named("template t/base.html").attributes
    assert parent["code.file.path"].endswith("/t/base.html")
    assert (parent["django.template.name"], parent["django.template.engine"]) == ("t/base.html", "django")
    block = trace.named("block content").attributes
    assert block["code.file.path"].endswith("/t/page.html")
    assert (block["django.template.name"], block["code.line.number"]) == ("t/page.html", 2)
    assert trace.named("template t/page.html").instrumentation_scope.name == "clew.seams.django.template"


def test_grandchild_and_block_super(trace, client):
    client.get("/t/child.html")
    assert below_view(trace, ROLE, COUNT, "code.line.number") == (
        "template t/child.html role=root\n"
        "  template t/page.html role=extends\n"
        "    template t/base.html role=extends\n"
        "      block content role=block number=1\n"
        "        block content role=block number=2\n"
        "          template t/card.html role=include count=3\n"
        "        template t/card.html role=include"
    )


def test_five_hundred_includes_are_one_span(trace, client):
    client.get("/many/")
    card = trace.named("template t/card.html").attributes
    assert card["clew.folded.count"] == 500
    assert 0 < card["clew.folded.duration_ms"] < 60_000


def test_folded_includes_do_not_use_up_the_limit_of_the_trace(client):
    with tracing(max_spans_per_trace=20, block_threshold_ms=60_000) as trace:
        client.get("/many/")
    assert trace.named("template t/card.html").attributes["clew.folded.count"] == 500
    assert not any("clew.spans.dropped" in span.attributes for span in trace.spans)


def test_includes_of_includes_fold_as_a_whole(trace, client):
    client.get("/t/nested.html")
    assert below_view(trace, ROLE, COUNT) == (
        "template t/nested.html role=root\n"
        "  template t/outer.html role=include count=3\n"
        "    template t/card.html role=include count=3"
    )


def test_short_blocks_are_no_spans_and_leave_no_trace_on_the_blocks_around_them(trace, client):
    client.get("/t/blocks.html")
    assert below_view(trace) == "template t/blocks.html\n  template t/blocks_base.html"


def test_every_block_in_detail(client):
    with tracing(detail="all") as trace:
        client.get("/t/blocks.html")
    assert below_view(trace) == (
        "template t/blocks.html\n  template t/blocks_base.html\n    block outer\n      block deep\n    block spare"
    )


def test_a_long_block_is_a_span(client):
    with tracing(block_threshold_ms=0) as trace:
        client.get("/t/blocks.html")
    assert trace.named("block spare").attributes[ROLE] == "block"


def test_variable_parent(trace, client):
    client.get("/t/variable.html")
    assert below_view(trace, ROLE) == "template t/variable.html role=root\n  template t/base.html role=extends"


def test_template_from_a_string(trace, client):
    client.get("/string/")
    assert below_view(trace, ROLE) == "template <string> role=root"
    assert "code.file.path" not in trace.named("template <string>").attributes


def test_inclusion_tag_and_what_the_application_writes_on_its_span(trace):
    engine = Engine(dirs=Engine.get_default().dirs, libraries={"clew_tests": "tests.site.template_tags"}, debug=False)
    with otel.get_tracer("tests").start_as_current_span("root"):
        engine.get_template("t/tags.html").render(Context({"item": "x"}))
    assert trace.tree(ROLE, "app.tag") == (
        "root\n  template t/tags.html role=root tag=True\n    template t/badge.html role=include"
    )


def test_a_span_the_application_wrote_on_is_not_folded_away(trace):
    engine = Engine(libraries={"clew_tests": "tests.site.template_tags"})
    touched = engine.from_string("{% load clew_tests %}{% touched %}")
    with otel.get_tracer("tests").start_as_current_span("root"):
        Template("{% for _ in '12' %}{% include t %}{% endfor %}").render(Context({"t": touched}))
    assert [span.attributes.get("app.tag") for span in trace.spans if span.attributes.get(ROLE) == "include"] == [
        True,
        True,
    ]


@pytest.mark.skipif(django.VERSION < (6, 0), reason="partials are Django 6.0's")
def test_partials(trace, client):
    client.get("/t/partials.html")
    assert below_view(trace, ROLE, COUNT) == (
        "template t/partials.html role=root\n  template t/partials.html#card role=include count=2"
    )


def test_an_error_is_recorded_once_on_the_innermost_span(trace, client):
    assert client.get("/t/broken_page.html").status_code == 500
    assert below_view(trace) == "template t/broken_page.html ERROR\n  template t/broken.html ERROR"
    below = [span for span in trace.spans if span.kind is otel.SpanKind.INTERNAL and span.events]
    events = {span.name: [event.name for event in span.events] for span in below}
    assert events == {"template t/broken.html": ["exception"]}


def test_the_error_is_the_identical_object(trace):
    context = template_views.context()
    with otel.get_tracer("tests").start_as_current_span("root"), pytest.raises(ValueError, match="in the") as raised:
        render_to_string("t/broken_page.html", context)
    assert raised.value is context["explode"].error


def test_missing_parent(trace, client):
    client.get("/t/orphan.html")
    assert below_view(trace) == "template t/orphan.html ERROR\n  template <parent> ERROR"
    assert (
        trace.named("template <parent>").attributes["error.type"] == "django.template.exceptions.TemplateDoesNotExist"
    )


def test_lazy_objects_are_not_evaluated(trace):
    lazy = SimpleLazyObject(template_views.never)
    named = Template("x", name=SimpleLazyObject(template_views.never))
    with otel.get_tracer("tests").start_as_current_span("root"):
        assert Template("{% include t %}{% block b %}{% endblock %}").render(Context({"lazy": lazy, "t": named})) == "x"
        assert Template("x", name=lazystr("lazy")).render(Context({"lazy": lazy})) == "x"
    assert trace.tree(COUNT) == "root\n  template <string>\n    template <string>\n  template <string>"


def test_results_are_equal_with_and_without():
    names = ["page.html", "child.html", "nested.html", "blocks.html", "variable.html"]
    request = RequestFactory().get("/")

    def pages():
        return [template_views.show(request, name).content for name in names]

    without = pages()
    with tracing(detail="all"), otel.get_tracer("tests").start_as_current_span("root"):
        assert pages() == without


def test_nothing_is_recorded_without_a_recording_span(trace):
    render_to_string("t/page.html", template_views.context())
    parent = NonRecordingSpan(SpanContext(1, 2, True, TraceFlags(0)))
    token = otel_context.attach(otel.set_span_in_context(parent))
    render_to_string("t/page.html", template_views.context())
    otel_context.detach(token)
    assert trace.spans == ()


def test_nothing_is_recorded_below_an_unsampled_request(trace, client, monkeypatch):
    monkeypatch.setattr(otel.get_tracer_provider(), "sampler", ALWAYS_OFF)
    client.get("/t/page.html", headers={"traceparent": f"00-{'a' * 32}-{'b' * 16}-00"})
    assert not [span for span in trace.spans if span.name.startswith(("template", "block"))]


class Other(Sampler):
    """Light spans cannot stand under it: it decides on each span."""

    def should_sample(self, parent_context, trace_id, name, kind=None, attributes=None, links=None, trace_state=None):
        return SamplingResult(Decision.RECORD_AND_SAMPLE, attributes)

    def get_description(self):
        return "other"


def test_with_the_sdks_own_spans():
    exporter, provider = InMemorySpanExporter(), TracerProvider(sampler=Other(), shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    handle = setup_tracing(tracer_provider=provider, template_load_threshold_ms=60_000)
    try:
        with provider.get_tracer("tests").start_as_current_span("root"):
            render_to_string("t/page.html", template_views.context())
            with pytest.raises(TemplateDoesNotExist):
                render_to_string("t/orphan.html")
    finally:
        handle.shutdown()
    assert Trace(exporter).tree(ROLE) == (
        "root\n"
        "  template t/page.html role=root\n"
        "    template t/base.html role=extends\n"
        "      block title role=block\n"
        "      block content role=block\n"
        "        template t/card.html role=include\n"
        "        template t/card.html role=include\n"
        "        template t/card.html role=include\n"
        "  template t/orphan.html ERROR role=root\n"
        "    template <parent> ERROR role=extends"
    )


def test_uninstalling_restores_the_identical_objects():
    before = [vars(owner)[name] for owner, name in PLACES]
    with tracing():
        during = [vars(owner)[name] for owner, name in PLACES]
    assert [vars(owner)[name] for owner, name in PLACES] == before
    assert all(here is not there for here, there in zip(before, during, strict=True))


class NameForm(forms.Form):
    name = forms.CharField()


def library_page(request):
    form = forms.Form()
    for number in range(8):
        kinds = (forms.CharField(), forms.BooleanField(), forms.ChoiceField(choices=[(1, "one"), (2, "two")]))
        form.fields[f"field{number}"] = kinds[number % 3]
    page = engines["django"].from_string("{% for field in form %}{{ field }}{% endfor %}{% include 't/card.html' %}")
    return HttpResponse(page.render({"form": form}))


def test_templates_of_a_library_in_a_page_are_one_span():
    urls = type("urls", (), {"urlpatterns": [path("", library_page)]})
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]), tracing() as trace:
        Client().get("/")
    (page,) = [span for span in trace.spans if span.name == "template <string>"]
    below = [span for span in trace.spans if span.parent and span.parent.span_id == page.context.span_id]
    assert sorted(span.name for span in below) == ["template django/*", "template t/card.html"]
    widgets = next(span for span in below if span.name == "template django/*")
    assert widgets.attributes["django.template.name"] == "django/*"
    assert widgets.attributes["clew.folded.count"] == 8
    assert "code.file.path" not in widgets.attributes
    inside = [span.name for span in trace.spans if span.parent and span.parent.span_id == widgets.context.span_id]
    assert inside == ["template django/*"]


def test_one_template_of_a_library_keeps_its_name():
    def view(request):
        return HttpResponse(engines["django"].from_string("{{ form.name }}").render({"form": NameForm()}))

    urls = type("urls", (), {"urlpatterns": [path("", view)]})
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]), tracing() as trace:
        Client().get("/")
    assert [span.name for span in trace.spans if "/widgets/" in span.name][-1] == "template forms/widgets/text.html"
