"""A request that one of Channels' HTTP consumers answers: its span, its view's, queries below it, streams, errors."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("channels")
from asgiref.testing import ApplicationCommunicator
from channels.generic.http import AsyncHttpConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.testing import HttpCommunicator
from django.contrib.auth.models import Group
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.test import override_settings
from django.urls import path, re_path
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from clew.bootstrap import active
from clew.testing import tracing

pytestmark = pytest.mark.django_db(transaction=True)


class Answer(AsyncHttpConsumer):
    async def handle(self, body):
        if body == b"fail":
            raise LookupError("no such event")
        if body == b"loop":
            for number in range(12):
                await Group.objects.filter(pk=number).aexists()
        status = 503 if body == b"busy" else 200
        await self.send_response(status, str(await Group.objects.acount()).encode())


class Events(AsyncHttpConsumer):
    """Server-sent events."""

    async def handle(self, body):
        await self.send_headers(headers=[(b"content-type", b"text/event-stream")])
        for number in range(3):
            await Group.objects.acount()
            await self.send_body(b"data: %d\n\n" % number, more_body=True)
            await asyncio.sleep(0.03)
        await self.send_body(b"")


class LongPoll(AsyncHttpConsumer):
    """Answers when a message comes by the channel layer."""

    async def http_request(self, message):
        await self.send_headers()
        await self.channel_layer.group_add("poll", self.channel_name)

    async def chat_message(self, event):
        await self.send_body(str(await Group.objects.acount()).encode())


def page(request):
    return HttpResponse("page")


urlpatterns = [path("page/", page)]
SITE = ProtocolTypeRouter(
    {
        "http": URLRouter(
            [
                path("events/<slug:room>/", Answer.as_asgi()),
                path("stream/", Events.as_asgi()),
                path("poll/", LongPoll.as_asgi()),
                re_path("", get_asgi_application()),
            ]
        )
    }
)


def ask(url, body=b"", method="GET", headers=()):
    async def play():
        client = HttpCommunicator(SITE, method, url, body=body, headers=list(headers))
        response = await client.get_response()
        await client.wait()  # else what Django still has open is never closed
        return response

    return asyncio.run(play())


def test_a_request_its_view_and_a_query():
    with tracing() as trace:
        response = ask("/events/lobby/?token=abc&page=2", method="POST", headers=[(b"host", b"shop.example:8000")])
    assert (response["status"], response["body"]) == (200, b"0")
    assert trace.tree().splitlines() == [
        "SERVER POST events/<slug:room>/",
        "  view test_http_consumer.Answer.handle",
        "    CLIENT SELECT auth_group",
    ]
    said = trace.named("POST events/<slug:room>/").attributes
    assert (said["http.request.method"], said["http.response.status_code"]) == ("POST", 200)
    assert said["http.route"] == "events/<slug:room>/"
    assert (said["url.path"], said["url.query"]) == ("/events/lobby/", "token=[redacted]&page=2")
    assert (said["server.address"], said["server.port"]) == ("shop.example", 8000)
    assert said["clew.db.query_count"] == 1
    view = trace.named("view test_http_consumer.Answer.handle").attributes
    assert view["code.function.name"] == f"{__name__}.Answer.handle"
    assert view["code.line.number"] == Answer.handle.__code__.co_firstlineno


def test_it_belongs_to_its_caller():
    parent = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    with tracing() as trace:
        ask("/events/lobby/", headers=[(b"traceparent", parent)])
    assert f"{trace.named('GET events/<slug:room>/').context.trace_id:032x}" == "0af7651916cd43dd8448eb211c80319c"


def test_an_error_is_the_views_and_passes():
    with tracing() as trace, pytest.raises(LookupError):
        ask("/events/lobby/", b"fail")
    root, view = trace.named("GET events/<slug:room>/"), trace.named("view test_http_consumer.Answer.handle")
    assert root.status.status_code is view.status.status_code is StatusCode.ERROR
    assert [event.attributes["exception.type"] for event in view.events] == ["LookupError"]


def test_a_status_of_500_is_an_error():
    with tracing() as trace:
        ask("/events/lobby/", b"busy")
    root = trace.named("GET events/<slug:room>/")
    assert root.status.status_code is StatusCode.ERROR
    assert (root.attributes["http.response.status_code"], root.attributes["error.type"]) == (503, "503")


def test_findings_of_a_request_are_found_sampled_or_not(monkeypatch):
    with tracing() as trace:
        ask("/events/lobby/", b"loop")
        assert [finding.type for finding in trace.findings] == ["n_plus_one"]
    with tracing() as trace:
        monkeypatch.setattr(active().provider, "sampler", ALWAYS_OFF)
        ask("/events/lobby/", b"loop")
        assert trace.spans == ()
        assert [finding.type for finding in trace.findings] == ["n_plus_one"]


def test_a_short_stream_is_one_request():
    with tracing() as trace:
        response = ask("/stream/")
    assert response["body"] == b"data: 0\n\ndata: 1\n\ndata: 2\n\n"
    root = trace.named("GET stream/")
    assert root.end_time - root.start_time > 90e6
    assert root.attributes["clew.db.query_count"] == 3


def test_a_long_stream_is_told_as_it_goes_on():
    with tracing(max_stream_seconds=0.02) as trace:
        assert ask("/stream/")["status"] == 200
    root = trace.named("GET stream/")
    assert root.end_time - root.start_time < 80e6
    assert root.attributes["http.response.status_code"] == 200
    assert len([span for span in trace.spans if span.name == "GET stream/"]) == 1
    assert {span.context.trace_id for span in trace.spans} == {root.context.trace_id}


def test_what_a_channel_layer_sends_it_is_part_of_the_request(settings):
    settings.CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}

    async def play():
        client = HttpCommunicator(SITE, "GET", "/poll/")
        asked = asyncio.create_task(client.get_response(timeout=5))
        await asyncio.sleep(0.1)
        await get_channel_layer().group_send("poll", {"type": "chat.message"})
        response = await asked
        await client.send_input({"type": "http.disconnect"})
        await client.wait()
        return response

    with tracing() as trace:
        assert asyncio.run(play())["body"] == b"0"
    assert trace.named("SELECT auth_group").context.trace_id == trace.named("GET poll/").context.trace_id


def test_a_client_that_goes_away():
    async def play():
        client = ApplicationCommunicator(
            SITE, {"type": "http", "method": "GET", "path": "/stream/", "headers": [], "query_string": b""}
        )
        await client.send_input({"type": "http.request", "body": b""})
        await client.receive_output()
        client.future.cancel()
        with pytest.raises(asyncio.CancelledError):
            await client.future

    with tracing() as trace:
        asyncio.run(play())
    root = trace.named("GET stream/")
    assert root.status.status_code is StatusCode.UNSET
    assert root.attributes["django.request.cancelled"] is True


def test_a_page_of_django_beside_it_is_told_by_django_alone():
    settings = {"ROOT_URLCONF": __name__, "ALLOWED_HOSTS": ["*"]}
    with tracing() as trace, override_settings(**settings):
        assert ask("/page/")["body"] == b"page"
    assert trace.tree().splitlines()[0] == "SERVER GET page/"
    assert len([span for span in trace.spans if span.parent is None]) == 1


def test_switched_off():
    with tracing(asgi_http_consumer=False) as trace:
        assert ask("/events/lobby/")["status"] == 200
    assert [span.name for span in trace.spans if "events" in span.name] == []
