"""A finding as it leaves in OTLP, and as Jaeger shows it: warnings, what can be searched for, the order of fields."""

from __future__ import annotations

import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import Decision, StaticSampler

import clew
from clew.detectors import detectors
from clew.export.encoding import encode_spans_for_http
from clew.story import local_trace
from clew.story.findings import INFORMATION, WARNING, Finding
from tests.detectors.corpus.models import Post
from tests.detectors.corpus.rows import make

pytestmark = pytest.mark.django_db
ROOT = Path(__file__).parents[2]
COUNT = 12


def page(request):
    for post in Post.objects.all():
        assert post.author.name
    return HttpResponse()


def nothing(request):
    return HttpResponse()


def many(request):
    for number in range(30):
        kind = WARNING if number == 29 else INFORMATION
        local_trace.current().report(Finding("some", f"Number {number}", "Mend it", severity=kind), number)
    return HttpResponse()


urlpatterns = [path("page/", page), path("nothing/", nothing), path("many/", many)]


def value(held):
    """An AnyValue as Python has it."""
    kind = held.WhichOneof("value")
    return tuple(map(value, held.array_value.values)) if kind == "array_value" else getattr(held, kind)


def fields(attributes):
    return {each.key: value(each.value) for each in attributes}


class Shown:
    """A span as Jaeger has it: behind its pipeline's `attributes` processor."""

    def __init__(self, span, pipeline="traces", config="deploy/jaeger.yaml"):
        self.name, self.id = span.name, span.span_id.hex()
        self.is_root = not span.parent_span_id
        self.attributes = fields(span.attributes)
        self.events = [(event.name, fields(event.attributes)) for event in span.events]
        held = yaml.safe_load((ROOT / config).read_text())
        assert "attributes/warnings" in held["service"]["pipelines"][pipeline]["processors"]
        for action in held["processors"]["attributes/warnings"]["actions"]:
            assert action["action"] == "upsert"
            if action["from_attribute"] in self.attributes:
                self.attributes[action["key"]] = self.attributes[action["from_attribute"]]

    @property
    def warnings(self):
        return self.attributes.get("@jaeger@warnings", ())

    def is_found_by(self, name, text):
        """Equality with the value's text; a list matches as its JSON only."""
        held = self.attributes.get(name)
        return json.dumps(held).strip('"') == text


def sent(url, limits=None, sampler=None, **settings):
    """The spans of a request, from the bytes the exporter would send."""
    exporter = InMemorySpanExporter()
    more = {} if sampler is None else {"sampler": sampler}
    provider = TracerProvider(shutdown_on_exit=False, span_limits=limits, **more)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    handle = clew.setup_tracing(tracer_provider=provider, **settings)
    try:
        with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
            assert Client().get(url).status_code == 200
    finally:
        handle.shutdown()
    data = encode_spans_for_http(exporter.get_finished_spans()).SerializeToString()
    request = ExportTraceServiceRequest.FromString(data)
    return [each for group in request.resource_spans for scope in group.scope_spans for each in scope.spans]


class Everything(StaticSampler):
    """A site's own: clew's light spans cannot stand under it."""

    def __init__(self):
        super().__init__(Decision.RECORD_AND_SAMPLE)


@pytest.fixture(params=["light", "limited", "sdk"])
def of_any_kind(request):
    """clew's light spans, the SDK's containers in them, and the SDK's own spans."""
    if request.param == "limited":
        return {"limits": SpanLimits(max_span_attributes=60)}
    return {"sampler": Everything()} if request.param == "sdk" else {}


def test_the_root_and_the_span_say_it_and_the_root_names_the_span(of_any_kind):
    make(COUNT)
    spans = [Shown(span) for span in sent("/page/", **of_any_kind)]
    (root,) = [span for span in spans if span.is_root]
    (line,) = root.warnings
    about, _, which = line.rpartition(" Span ")
    assert about.startswith(f"n_plus_one: N+1: Post.author was loaded one by one, {COUNT} queries, ")
    line = page.__code__.co_firstlineno + 2
    assert f" ms. At story/test_findings.py:{line}. Fix: add .select_related(" in about
    assert root.attributes["clew.findings"] == ("n_plus_one",)
    (span,) = [span for span in spans if f"{span.id}." == which]
    assert span.attributes["clew.finding.n_plus_one"] is True
    if "sampler" in of_any_kind:  # the SDK's span has ended by the time the number is final
        about = ()
    assert [each.warnings for each in spans if not each.is_root and "clew.finding.n_plus_one" in each.attributes] == [
        (about,) if about else ()
    ]
    assert span.attributes.get("clew.folded.count") == (COUNT if about else None)


def test_the_events_name_says_which_and_its_sentence_comes_first():
    make(COUNT)
    ((name, said),) = [event for span in sent("/page/") for event in Shown(span).events]
    assert name == "clew.finding.n_plus_one"
    assert min(said) == "clew.finding.about"
    assert said["clew.finding.about"].startswith("N+1: Post.author")


def searches():
    menu = json.loads((ROOT / "deploy/jaeger-ui.json").read_text())["menu"]
    return {
        item["label"]: next(iter(json.loads(parse_qs(urlsplit(item["url"]).query)["tags"][0]).items()))
        for each in menu
        for item in each["items"]
    }


def test_one_search_finds_every_trace_with_a_finding_and_with_any():
    make(COUNT)
    ready = searches()
    assert {f"found: {detector.type}" for detector in detectors()} <= set(ready)
    for url, found in (("/page/", {"anything that clew found", "found: n_plus_one"}), ("/nothing/", set())):
        spans = [Shown(span) for span in sent(url)]
        assert {what for what, search in ready.items() if any(span.is_found_by(*search) for span in spans)} == found


def test_others_jaeger_gets_it_from_the_collector_or_from_clew():
    make(COUNT)
    for config in ("collector-config.yaml", "deploy/collector-tier2.yaml"):
        assert any(Shown(span, "traces/keep", config).warnings for span in sent("/page/"))
    held = [fields(span.attributes) for span in sent("/page/", jaeger_warnings=True)]
    assert [each["@jaeger@warnings"] == each["clew.warnings"] for each in held if "clew.warnings" in each] == [True] * 2
    assert not any("@jaeger@warnings" in fields(span.attributes) for span in sent("/page/"))


def test_a_root_with_many_findings_stays_readable():
    (root,) = [Shown(span) for span in sent("/many/") if not span.parent_span_id]
    assert root.attributes["clew.some.count"] == 30
    assert [line.partition(". Fix")[0] for line in root.warnings] == [
        "some: Number 29",
        *(f"some: Number {number}" for number in range(19)),
        "10 more findings, each on its span.",
    ]
