"""`process.memory.delta` of requests, as a server's handler serves them."""

from __future__ import annotations

import asyncio
import os

import pytest
from django.core.handlers.asgi import ASGIHandler
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse, StreamingHttpResponse
from django.test import Client, RequestFactory, override_settings
from django.urls import path

from clew.story import memory
from clew.testing import tracing
from tests.detectors import troubles

DELTA = "process.memory.delta"
MIB = 1 << 20
pytestmark = [
    pytest.mark.django_db,
    pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc"),
]


def grow(request):
    troubles.kept.append(troubles._touched(64 * MIB))
    return HttpResponse("ok")


def body():
    troubles.kept.append(troubles._touched(64 * MIB))
    yield b"ok"


@pytest.fixture(autouse=True)
def _urls():
    views = {
        "grow/": grow,
        "plain/": lambda request: HttpResponse("ok"),
        "body/": lambda r: StreamingHttpResponse(body()),
    }
    urls = type("urls", (), {"urlpatterns": [path(route, view) for route, view in views.items()]})
    with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        yield
    troubles.kept.clear()
    memory.close()


def serve(address):
    """As a WSGI server does."""
    environ = RequestFactory().get(address).environ
    response = WSGIHandler()(environ, lambda status, headers, exc_info=None: None)
    assert b"".join(response) == b"ok"
    response.close()


def test_a_request_says_what_the_process_has_gained():
    with tracing() as trace:
        serve("/plain/")
        serve("/grow/")
        serve("/body/")
        troubles.kept.clear()
        serve("/plain/")
    first, last = [span for span in trace.spans if span.name == "GET plain/"]
    assert abs(first.attributes[DELTA]) < 16 * MIB
    assert 60 * MIB < trace.named("GET grow/").attributes[DELTA] < 80 * MIB
    assert 60 * MIB < trace.named("GET body/").attributes[DELTA] < 80 * MIB
    assert last.attributes[DELTA] < -100 * MIB


def test_an_asynchronous_one():
    asked = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive():
        return asked.pop() if asked else await asyncio.Event().wait()

    async def send(message):
        pass

    scope = {
        "type": "http",
        "method": "GET",
        "path": "/grow/",
        "headers": [],
        "query_string": b"",
        "http_version": "1.1",
    }

    async def run():
        await ASGIHandler()(scope, receive, send)

    with tracing() as trace:
        asyncio.run(run())
    assert 60 * MIB < trace.named("GET grow/").attributes[DELTA] < 80 * MIB


def test_the_test_client_serves_no_requests_of_a_server():
    with tracing() as trace:
        Client().get("/grow/")
    assert DELTA not in trace.named("GET grow/").attributes


def test_switched_off():
    with tracing(django_memory=False) as trace:
        serve("/grow/")
    assert DELTA not in trace.named("GET grow/").attributes
