"""Calls to other services that other instrumentations trace: whose line, in which phase, and how many there were."""

from __future__ import annotations

import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from django.dispatch import Signal
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clew.processors import AnnotateProcessor
from clew.testing import tracing

requests = pytest.importorskip("requests")
Requests = pytest.importorskip("opentelemetry.instrumentation.requests").RequestsInstrumentor
Urllib = pytest.importorskip("opentelemetry.instrumentation.urllib").URLLibInstrumentor

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]
asked = Signal()


class _Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *args):
        pass


@pytest.fixture(scope="module", autouse=True)
def url():
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Answer)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    SERVER.append(f"http://127.0.0.1:{server.server_port}/stock/")
    yield
    server.shutdown()
    server.server_close()


SERVER = []


@pytest.fixture(params=[Requests, Urllib])
def instrumented(request):
    request.param().instrument()
    yield (lambda address: requests.get(address, timeout=30)) if request.param is Requests else read
    request.param().uninstrument()


def read(address):
    with urllib.request.urlopen(address, timeout=30) as answer:
        return answer.read()


CALL = []


def call(request):
    for number in range(2):
        CALL[0](f"{SERVER[0]}{number}")
    return HttpResponse()


def told(request):
    asked.send(None)
    return HttpResponse()


def receive(**named):
    CALL[0](SERVER[0])


urlpatterns = [path("call/", call), path("told/", told)]


def test_a_call_of_a_view(instrumented):
    CALL[:] = [instrumented]
    with tracing() as trace:
        Client().get("/call/")
    calls = [span for span in trace.spans if span.kind.name == "CLIENT"]
    assert len(calls) == 2
    for span in calls:
        assert span.attributes["clew.phase"] == "view"
        assert span.attributes["code.file.path"] == __file__
        assert span.attributes["code.function.name"].rpartition(".")[2] in ("call", "read", "<lambda>")
    root = trace.named("GET call/").attributes
    assert root["clew.external.count"] == root["clew.external.http.count"] == 2
    assert root["clew.external.duration_ms"] == root["clew.external.http.duration_ms"] > 0


def test_a_call_of_a_receiver(instrumented):
    CALL[:] = [instrumented]
    asked.connect(receive)
    try:
        with tracing() as trace:
            Client().get("/told/")
    finally:
        asked.disconnect(receive)
    (span,) = [span for span in trace.spans if span.kind.name == "CLIENT"]
    assert span.attributes["clew.phase"] == "signal"
    assert span.attributes["django.signal.receiver"] == f"{__name__}.receive"
    assert span.parent.span_id == trace.named("receiver test_annotate.receive").context.span_id


def test_no_call_is_told_where_there_is_none():
    with tracing() as trace:
        Client().get("/told/")
    assert not [span for span in trace.spans if "clew.external.count" in span.attributes]


@pytest.mark.parametrize("order", [1, -1])
def test_alone_on_any_provider(order):
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    for processor in [AnnotateProcessor(), SimpleSpanProcessor(exporter)][::order]:
        provider.add_span_processor(processor)
    Urllib().instrument(tracer_provider=provider)
    try:
        with provider.get_tracer("script").start_as_current_span("script"):
            read(SERVER[0])
        read(SERVER[0])
    finally:
        Urllib().uninstrument()
    below, _, alone = exporter.get_finished_spans()
    assert below.attributes["code.function.name"] == f"{__name__}.read"
    assert "code.function.name" not in alone.attributes
