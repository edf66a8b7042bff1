"""A body without an end (server-sent events): no span lasts as long as it does, and all that it does is told."""

from __future__ import annotations

import asyncio
import itertools

import pytest
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from django.contrib.auth.models import Group
from django.core.handlers.asgi import ASGIHandler
from django.http import StreamingHttpResponse
from django.test import Client
from django.urls import path

from clew.testing import tracing

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.urls(__name__)]
AT_ONCE = 1e-9


def events(request):
    def parts():
        for number in itertools.count():
            yield f"data: {number} {Group.objects.count()}\n\n"

    return StreamingHttpResponse(parts(), content_type="text/event-stream")


async def aevents(request):
    async def parts():
        for number in itertools.count():
            yield f"data: {number} {await Group.objects.acount()}\n\n"

    return StreamingHttpResponse(parts(), content_type="text/event-stream")


def failing(request):
    def parts():
        yield "one"
        raise LookupError("no second part")

    return StreamingHttpResponse(parts())


urlpatterns = [path("events/", events), path("aevents/", aevents), path("failing/", failing)]


def test_it_is_told_piece_by_piece():
    with tracing(max_stream_seconds=AT_ONCE, django_middleware=False, django_view=False) as trace:
        response = Client().get("/events/")
        assert [next(iter(response.streaming_content)) for _ in range(3)]
        told = [span.name for span in trace.spans if span.kind.name == "SERVER"]
        assert told == ["GET events/", "stream events/", "stream events/"]
        response.close()
        assert trace.tree("django.stream.number").splitlines() == [
            "SERVER GET events/",
            *(
                line
                for number in (1, 2, 3)
                for line in (f"SERVER stream events/ number={number}", "  CLIENT SELECT auth_group")
            ),
        ]
        request = trace.named("GET events/")
        for piece in (span for span in trace.spans if span.name == "stream events/"):
            assert [link.context.span_id for link in piece.links] == [request.context.span_id]
            assert piece.context.trace_id != request.context.trace_id
            assert piece.attributes["django.stream.request.span_id"] == f"{request.context.span_id:016x}"
            assert piece.attributes["clew.db.query_count"] == 1


def test_the_client_goes_away():
    async def play(trace):
        scope = {
            "type": "http", "method": "GET", "path": "/aevents/", "query_string": b"", "headers": [],
            "http_version": "1.1", "scheme": "http", "server": ("127.0.0.1", 80),
        }  # fmt: skip
        client = ApplicationCommunicator(ASGIHandler(), scope)
        await client.send_input({"type": "http.request", "body": b""})
        assert (await client.receive_output())["status"] == 200
        for _ in range(2):
            assert (await client.receive_output())["body"]
        await client.send_input({"type": "http.disconnect"})
        await client.wait(timeout=10)
        return [span.name for span in trace.spans if span.kind.name == "SERVER"]

    with tracing(max_stream_seconds=AT_ONCE) as trace:
        told = asyncio.run(play(trace))
        assert told[0] == "GET aevents/"
        assert set(told[1:]) == {"stream aevents/"}
        assert len(told) >= 3


def test_what_fails_later_is_told_where_it_fails():
    with tracing(max_stream_seconds=AT_ONCE) as trace:
        response = Client().get("/failing/")
        with pytest.raises(LookupError):
            list(response.streaming_content)
        failed = [span for span in trace.spans if span.status.status_code.name == "ERROR"]
        assert [(span.name, span.attributes["django.stream.number"]) for span in failed] == [("stream failing/", 2)]
        assert failed[0].events[0].attributes["exception.type"] == "LookupError"


@pytest.mark.parametrize("seconds", [0, 60])
def test_a_short_one_is_one_span(seconds):
    with tracing(max_stream_seconds=seconds) as trace:
        response = Client().get("/events/")
        for _ in range(3):
            next(iter(response.streaming_content))
        response.close()
        assert [span.name for span in trace.spans if span.kind.name == "SERVER"] == ["GET events/"]


def test_an_async_one():
    async def read():
        from django.test import AsyncClient

        response = await AsyncClient().get("/aevents/")
        parts = aiter(response.streaming_content)
        said = [await anext(parts) for _ in range(2)]
        response.close()
        return said

    with tracing(max_stream_seconds=AT_ONCE) as trace:
        assert async_to_sync(read)() == [b"data: 0 0\n\n", b"data: 1 0\n\n"]
        names = [span.name for span in trace.spans if span.kind.name == "SERVER"]
        assert names == ["GET aevents/", "stream aevents/", "stream aevents/"]
