"""The whole chain, field by field: from a page and a task to the bytes of the exporter's request, as Jaeger shows them.

What Jaeger does with a field was seen in the real thing: an attribute is searched by equality with its text, a list is
its JSON, a link loses its attributes, an event is folded to its name and first field, fields are in alphabetical order.
"""

from __future__ import annotations

import uuid

import pytest
from celery.app.trace import build_tracer
from celery.signals import before_task_publish
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path, re_path
from opentelemetry import trace as otel
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.util._once import Once

import clew
from clew.seams.celery.message import headers as message_headers
from tests.celery_site.app import make_app
from tests.detectors.corpus.models import Post
from tests.detectors.corpus.rows import make
from tests.processors.collectors import http_collector
from tests.story.test_findings import Shown, fields, searches

pytestmark = pytest.mark.django_db
ROWS, SENDS, SHOWN = 12, 14, 40
made = {}


def page(request, number):
    for post in Post.objects.all():
        assert post.author.name
    for each in range(SENDS):
        made["app"].tasks["add"].delay(each, 1)
    return HttpResponse()


def broken(request):
    raise LookupError("token=abc123 is not there")


urlpatterns = [re_path(r"^page/(?P<number>[0-9]+)/$", page), path("broken/", broken)]


@pytest.fixture
def sent(monkeypatch):
    """A page, an error, and a task that is tried twice: what a collector's HTTP endpoint got."""
    make(ROWS)
    messages = []
    with http_collector() as collector:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.endpoint)
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf")
        # The one that clew makes itself, with its own way to the exporter; a process has one only.
        monkeypatch.setattr(otel, "_TRACER_PROVIDER", None)
        monkeypatch.setattr(otel, "_TRACER_PROVIDER_SET_ONCE", Once())
        handle = clew.setup_tracing("shop", slow_queue_threshold_ms=1000)
        note = lambda headers=None, **_: messages.append(dict(headers))  # noqa: E731
        before_task_publish.connect(note, weak=False)
        # Afterwards: an app of Celery 5.3 may hold an older list of receivers.
        made["app"] = make_app(queue=f"clew-{uuid.uuid4().hex[:12]}")
        try:
            with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
                client = Client(raise_request_exception=False)
                assert [client.get(url).status_code for url in ("/page/7/", "/broken/")] == [200, 500]
            run(messages[0], "add", (1, 2))
            run(messages[-1], "add", (1, 2))
            run({**messages[0], "id": "again"}, "again", (1,))
            run({**messages[-1], "retries": 1}, "again", (1,))
            assert handle.force_flush()
        finally:
            before_task_publish.disconnect(note)
            handle.shutdown()
        return [ExportTraceServiceRequest.FromString(body) for body in collector.bodies]


def run(held, name, args):
    """As a worker's process runs a message that waited two seconds in its queue."""
    published = int(held[message_headers.PUBLISHED_AT])
    received = message_headers.Received(published + 2_000_000_000, 0, 0, 0, 1).text()
    delivery = {"exchange": "", "routing_key": "mail", "redelivered": False}
    request = {**held, message_headers.RECEIVED: received, "delivery_info": delivery, "args": args, "kwargs": {}}
    task = made["app"].tasks[name]
    build_tracer(name, task, app=made["app"])(held["id"], args, {}, request)


def spans_of(sent):
    return [
        (resource.resource, scope.scope, span)
        for request in sent
        for resource in request.resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    ]


def test_every_field_is_one_that_jaeger_shows(sent):
    found = spans_of(sent)
    ids = {span.span_id for _, _, span in found}
    assert len(ids) == len(found)
    assert {span.name[:SHOWN] for _, _, span in found} >= {
        "GET page/<number>/",
        "view test_jaeger.page",
        "SELECT corpus_post",
        "SELECT corpus_author (folded)",
        "apply_async/add",
        "apply_async/add (folded)",
        "run/add",
        "run/again",
        "GET broken/",
    }
    for resource, scope, span in found:
        process = fields(resource.attributes)
        assert process["service.name"] == "shop"
        assert process["telemetry.sdk.language"] == "python"
        # Shown as otel.scope.name and .version: the file that made the span.
        assert scope.name.startswith("clew.seams.")
        assert scope.version == clew.__version__
        assert (len(span.trace_id), len(span.span_id), len(span.name) > 0) == (16, 8, True)
        assert any(span.trace_id), span.name
        assert 0 < span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.kind in range(1, 6)
        assert not span.parent_span_id or span.parent_span_id in ids
        for held in (span, *span.events):
            keys = [each.key for each in held.attributes]
            assert len(keys) == len(set(keys)), keys
            for each in held.attributes:
                # Anything else is JSON that no search finds.
                kind = each.value.WhichOneof("value")
                assert kind in ("string_value", "bool_value", "int_value", "double_value", "array_value"), each.key
                if kind == "array_value":
                    assert {inner.WhichOneof("value") for inner in each.value.array_value.values} <= {"string_value"}
            assert held.dropped_attributes_count == 0
        assert b"abc123" not in span.SerializeToString()


def test_what_a_link_means_is_among_the_attributes(sent):
    """Jaeger drops a link's own attributes, and does not show one that leads to the parent."""
    linked = [span for _, _, span in spans_of(sent) if span.links]
    assert {span.name for span in linked} == {"run/add", "run/again"}
    for span in linked:
        said = fields(span.attributes).values()
        for link in span.links:
            assert link.trace_id.hex() in said
            # One that leads to the parent says nothing new.
            assert link.span_id.hex() in said or link.span_id == span.parent_span_id


def test_an_error_a_warning_and_an_event_are_first_seen_right(sent):
    shown = {span.name: Shown(span) for _, _, span in spans_of(sent)}
    by_name = {span.name: span for _, _, span in spans_of(sent)}
    failed = by_name["GET broken/"]
    assert (failed.status.code, failed.status.message) == (2, "LookupError: token=[redacted] is not there")
    assert fields(failed.attributes)["error.type"] == "LookupError"
    root = shown["GET page/<number>/"]
    assert len(root.warnings) == 1
    assert all(
        "\n" not in line and line.partition(":")[0] in root.attributes["clew.findings"] for line in root.warnings
    )
    for span in shown.values():
        for name, held in span.events:
            first = min(held)
            assert first == ("clew.finding.about" if name.startswith("clew.finding.") else "exception.escaped") or (
                name == "exception" and first == "exception.message"
            )


def test_what_is_searched_for_is_found_by_its_text(sent):
    spans = [span for _, _, span in spans_of(sent)]
    # As Jaeger's own window has them ready, and what a person types.
    ready = {**searches(), "route": ("http.route", "page/<number>/"), "status": ("http.response.status_code", "500")}
    ready["task"] = ("celery.task_name", "add")
    found = {}
    for what, search in ready.items():
        found[what] = sorted({span.name for span in spans if Shown(span).is_found_by(*search)})
    root = "GET page/<number>/"
    assert found["anything that clew found"] == [root]
    assert found["found: n_plus_one"] == [root, "SELECT corpus_author (folded)"]
    assert found["a slow queue"] == ["run/add", "run/again"]
    assert (found["route"], found["status"]) == ([root], ["GET broken/"])
    assert "run/add" in found["task"]
    # A list is found by nothing but its JSON, so each type has a mark of its own.
    for span in spans:
        held = fields(span.attributes)
        lists = {name: said for name, said in held.items() if type(said) is tuple}
        assert set(lists) <= {"clew.findings", "clew.warnings", "celery.timelimit"}, lists
        for kind in lists.get("clew.findings", ()):
            assert held[f"clew.finding.{kind}"] is True
