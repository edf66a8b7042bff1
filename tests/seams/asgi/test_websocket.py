"""A websocket's opening and its messages, of Channels' consumers, sync and async, and of plain applications."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("channels")
from asgiref.sync import async_to_sync
from asgiref.testing import ApplicationCommunicator
from channels.auth import AuthMiddlewareStack
from channels.consumer import AsyncConsumer
from channels.db import database_sync_to_async
from channels.exceptions import DenyConnection
from channels.generic.websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer, WebsocketConsumer
from channels.layers import get_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import OriginValidator
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Group, User
from django.test import Client
from django.urls import path, re_path
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode, get_tracer

from clew.bootstrap import active
from clew.testing import tracing

pytestmark = pytest.mark.django_db(transaction=True)
LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
SEEN = []


class Chat(AsyncJsonWebsocketConsumer):
    async def connect(self):
        await self.channel_layer.group_add("room", self.channel_name)
        await self.accept()

    async def receive_json(self, content):
        if content == "fail":
            raise LookupError("no such message")
        if content == "loop":
            await self.ask_again_and_again()
        elif content == "close":
            await self.close(4001, "enough")
        elif content == "all":
            await self.channel_layer.group_send("room", {"type": "chat.message", "text": "hello"})
        else:
            await self.send_json(await self.count())

    @database_sync_to_async
    def count(self):
        return Group.objects.count()

    async def ask_again_and_again(self):
        for number in range(12):
            await Group.objects.filter(pk=number).aexists()
        await self.send_json("done")

    async def chat_message(self, event):
        SEEN.append(event)
        await self.send_json({"number": await self.count()})

    async def disconnect(self, code):
        await self.channel_layer.group_discard("room", self.channel_name)


class SyncChat(JsonWebsocketConsumer):
    groups = ["room"]

    def receive_json(self, content):
        if content == "fail":
            raise LookupError("no such message")
        if content == "all":
            async_to_sync(self.channel_layer.group_send)("room", {"type": "chat.message", "text": "hello"})
        else:
            self.send_json(Group.objects.count())

    def chat_message(self, event):
        SEEN.append(event)
        self.send_json({"number": Group.objects.count()})


class Thumbnails(AsyncConsumer):
    async def make(self, message):
        SEEN.append(message)
        await self.send({"type": "made"})


class Closed(WebsocketConsumer):
    def connect(self):
        raise DenyConnection


class Broken(WebsocketConsumer):
    def connect(self):
        raise LookupError("no such room")


ROUTER = URLRouter(
    [
        path("chat/<slug:room>/", Chat.as_asgi()),
        re_path(r"^sync/(?P<room>\w+)/$", SyncChat.as_asgi()),
        path("closed/", Closed.as_asgi()),
        path("broken/", Broken.as_asgi()),
    ]
)
SITE = ProtocolTypeRouter({"websocket": OriginValidator(ROUTER, ["http://shop.example"])})


@pytest.fixture
def trace(settings):
    settings.CHANNEL_LAYERS = LAYERS
    SEEN.clear()
    with tracing() as captured:
        yield captured


def run(conversation, url="/chat/lobby/?token=abc&page=2", application=SITE, origin="http://shop.example"):
    async def play():
        headers = [(b"origin", origin.encode()), (b"host", b"shop.example:8000")]
        client = WebsocketCommunicator(application, url, headers=headers)
        try:
            return await conversation(client)
        finally:
            await client.disconnect()

    return asyncio.run(play())


async def talk(client):
    assert (await client.connect())[0]
    await client.send_json_to("count")
    assert await client.receive_json_from() == 0


@pytest.mark.parametrize(
    ("url", "route", "kind"), [("/chat/lobby/", "chat/<slug:room>/", Chat), ("/sync/lobby/", "sync/<room>/", SyncChat)]
)
def test_opening_message_and_end_are_three_short_traces(trace, url, route, kind):
    run(talk, url)
    views = [f"view test_websocket.{kind.__name__}.{name}" for name in ("connect", "receive_json", "disconnect")]
    own = kind is Chat  # the other leaves connect and disconnect to Channels
    lines = [
        f"SERVER websocket {route}",
        *([f"  {views[0]}"] if own else []),
        f"SERVER websocket.receive {route}",
        f"  {views[1]}",
        "    CLIENT SELECT auth_group",
        f"SERVER websocket.disconnect {route}",
        *([f"  {views[2]}"] if own else []),
    ]
    assert trace.tree() == "\n".join(lines)
    opening, message = trace.named(lines[0][7:]), trace.named(f"websocket.receive {route}")
    assert message.context.trace_id != opening.context.trace_id
    assert [link.context.span_id for link in message.links] == [opening.context.span_id]
    assert message.attributes["websocket.opening.trace_id"] == f"{opening.context.trace_id:032x}"
    assert message.attributes["clew.db.query_count"] == 1
    view = trace.named(views[1])
    assert view.attributes["code.function.name"] == f"{kind.__module__}.{kind.__name__}.receive_json"
    assert view.attributes["code.line.number"] == kind.receive_json.__code__.co_firstlineno


def test_what_the_opening_says(trace):
    run(talk)
    said = trace.named("websocket chat/<slug:room>/").attributes
    assert said["websocket.outcome"] == "accepted"
    assert said["url.path"] == "/chat/lobby/"
    assert said["url.query"] == "token=[redacted]&page=2"
    assert (said["server.address"], said["server.port"]) == ("shop.example", 8000)
    assert said["http.route"] == "chat/<slug:room>/"


@pytest.mark.parametrize("url", ["/chat/lobby/", "/sync/lobby/"])
def test_a_message_to_a_group_leads_to_its_handlers(trace, url):
    async def conversation(client):
        await client.connect()
        await client.send_json_to("all")
        assert await client.receive_json_from() == {"number": 0}

    run(conversation, url)
    assert SEEN == [{"type": "chat.message", "text": "hello"}]
    sent = trace.named("group_send chat.message")
    handled = next(span for span in trace.spans if span.name.startswith("chat.message "))
    assert handled.parent.span_id == sent.context.span_id
    assert handled.context.trace_id == sent.context.trace_id
    assert handled.attributes["channel_layer.send.span_id"] == f"{sent.context.span_id:016x}"
    opening = next(span for span in trace.spans if span.name.startswith("websocket "))
    assert {link.context.span_id for link in handled.links} == {sent.context.span_id, opening.context.span_id}


def test_beyond_the_fan_out_a_handler_is_a_trace_of_its_own(settings):
    settings.CHANNEL_LAYERS = LAYERS

    async def conversation(client):
        other = WebsocketCommunicator(SITE, "/chat/lobby/", headers=[(b"origin", b"http://shop.example")])
        await client.connect()
        await other.connect()
        await client.send_json_to("all")
        for each in (client, other):
            assert await each.receive_json_from() == {"number": 0}
        await other.disconnect()

    with tracing(fan_out=1) as trace:
        run(conversation)
        sent = trace.named("group_send chat.message")
        handled = [span for span in trace.spans if span.name.startswith("chat.message ")]
        assert sorted(span.context.trace_id == sent.context.trace_id for span in handled) == [False, True]
        assert all(span.attributes["channel_layer.send.span_id"] for span in handled)


def test_the_message_that_is_sent_is_not_touched(trace):
    message = {"type": "chat.message", "nested": {"a": [1]}}

    async def send_and_receive():
        layer = get_channel_layer()
        await layer.send("somebody", message)
        return await layer.receive("somebody")

    with get_tracer(__name__).start_as_current_span("script"):
        assert asyncio.run(send_and_receive()) == {"type": "chat.message", "nested": {"a": [1]}}
    assert message == {"type": "chat.message", "nested": {"a": [1]}}
    assert "PRODUCER send chat.message" in trace.tree()


@pytest.mark.parametrize("url", ["/chat/lobby/", "/sync/lobby/"])
def test_a_consumer_that_fails(trace, url):
    async def conversation(client):
        await client.connect()
        await client.send_json_to("fail")
        with pytest.raises(LookupError, match="no such message"):
            await client.receive_output()

    async def play():
        client = WebsocketCommunicator(SITE, url, headers=[(b"origin", b"http://shop.example")])
        await conversation(client)

    asyncio.run(play())
    failed = [span for span in trace.spans if span.status.status_code is StatusCode.ERROR]
    assert [span.name.partition(" ")[0] for span in failed] == ["view", "websocket.receive"]
    assert [len(span.events) for span in failed] == [1, 0]
    assert failed[0].events[0].attributes["exception.type"] == "LookupError"
    opening = next(span for span in trace.spans if span.name.startswith("websocket "))
    assert opening.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(
    ("url", "origin", "said"),
    [
        ("/closed/", "http://shop.example", {"websocket.rejected_by": f"{__name__}.Closed"}),
        (
            "/chat/lobby/",
            "http://evil.example",
            {
                "websocket.rejected_by": "channels.security.websocket.WebsocketDenier",
                "websocket.close.reason": "its origin http://evil.example is not allowed",
            },
        ),
    ],
)
def test_why_it_was_rejected(trace, url, origin, said):
    async def conversation(client):
        assert not (await client.connect())[0]

    run(conversation, url, origin=origin)
    opening = next(span for span in trace.spans if span.name.partition(" ")[0] == "websocket")
    assert opening.attributes["websocket.outcome"] == "rejected"
    assert said.items() <= opening.attributes.items()
    assert opening.status.status_code is StatusCode.UNSET


@pytest.mark.parametrize(("url", "error"), [("/broken/", LookupError), ("/nowhere/", ValueError)])
def test_an_opening_that_fails(trace, url, error):
    async def play():
        client = WebsocketCommunicator(SITE, url, headers=[(b"origin", b"http://shop.example")])
        with pytest.raises(error):
            await client.connect()

    asyncio.run(play())
    opening = next(span for span in trace.spans if span.name.partition(" ")[0] == "websocket")
    assert opening.status.status_code is StatusCode.ERROR
    assert opening.attributes["websocket.outcome"] == "failed"


def test_a_close_is_told_on_what_closes(trace):
    async def conversation(client):
        await client.connect()
        await client.send_json_to("close")
        assert (await client.receive_output())["code"] == 4001

    run(conversation)
    said = trace.named("websocket.receive chat/<slug:room>/").attributes
    assert (said["websocket.close.code"], said["websocket.close.reason"]) == (4001, "enough")


def test_findings_of_a_request_are_found_in_a_message(trace):
    async def conversation(client):
        await client.connect()
        for content in ("count", "loop"):
            await client.send_json_to(content)
            await client.receive_json_from()

    run(conversation)
    assert [finding.type for finding in trace.findings] == ["n_plus_one"]
    found = [span for span in trace.spans if span.attributes.get("clew.finding.any")]
    assert [span.name for span in found] == ["websocket.receive chat/<slug:room>/"]


def test_no_false_positive_a_query_for_each_message(trace):
    async def conversation(client):
        await client.connect()
        for _ in range(12):
            await client.send_json_to("count")
            await client.receive_json_from()

    run(conversation)
    trace.assert_no_findings()


def test_who_the_client_is_is_asked_below_the_opening(trace):
    client = Client()
    client.force_login(User.objects.create_user("ada"))
    cookie = client.cookies["sessionid"].value
    trace.clear()

    async def play():
        headers = [(b"cookie", f"sessionid={cookie}".encode())]
        site = ProtocolTypeRouter({"websocket": AuthMiddlewareStack(ROUTER)})
        socket = WebsocketCommunicator(site, "/chat/lobby/", headers=headers)
        await socket.connect()
        await socket.disconnect()

    asyncio.run(play())
    opening = trace.tree().partition("SERVER websocket.disconnect")[0].splitlines()
    assert opening[0] == "SERVER websocket chat/<slug:room>/"
    assert [line.split()[-1] for line in opening if "SELECT" in line] == ["django_session", "auth_user"]
    assert not [span for span in trace.spans if cookie in str(dict(span.attributes))]


def test_a_channel_worker(trace):
    async def play():
        layer = get_channel_layer()
        with get_tracer(__name__).start_as_current_span("script"):
            await layer.send("thumbnails", {"type": "make", "name": "a.png"})
        message = await layer.receive("thumbnails")
        app = ApplicationCommunicator(Thumbnails.as_asgi(), {"type": "channel", "channel": "thumbnails"})
        await app.send_input(message)
        await app.receive_output()
        app.stop(exceptions=False)

    asyncio.run(play())
    assert SEEN == [{"type": "make", "name": "a.png"}]
    assert trace.tree().splitlines() == [
        "script",
        "  PRODUCER send make",
        "    CONSUMER make",
        "      view test_websocket.Thumbnails.make",
    ]


def test_unsampled_nothing_is_recorded_but_findings_are_found(settings, monkeypatch):
    settings.CHANNEL_LAYERS = LAYERS

    async def conversation(client):
        await client.connect()
        await client.send_json_to("loop")
        assert await client.receive_json_from() == "done"

    with tracing() as trace:
        monkeypatch.setattr(active().provider, "sampler", ALWAYS_OFF)
        run(conversation)
        assert trace.spans == ()
        assert [finding.type for finding in trace.findings] == ["n_plus_one"]


async def plain(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    if scope["path"] == "/rejected/":
        await send({"type": "websocket.close", "code": 4003, "reason": "no"})
        return
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        if message["text"] == "fail":
            raise LookupError("no such message")
        await send({"type": "websocket.send", "text": str(await Group.objects.acount())})


def test_a_plain_application(trace):
    from clew.seams.asgi.websocket import _followed

    async def play():
        client = WebsocketCommunicator(_followed(plain), "/plain/")
        await client.connect()
        for _ in range(2):
            await client.send_to(text_data="count")
            assert await client.receive_from() == "0"
        await client.disconnect()

    asyncio.run(play())
    message = ["SERVER websocket.receive", "  CLIENT SELECT auth_group"]
    assert trace.tree().splitlines() == ["SERVER websocket", *message, *message, "SERVER websocket.disconnect"]


def test_a_plain_application_rejects_and_fails(trace):
    from clew.seams.asgi.websocket import _followed

    async def play():
        client = WebsocketCommunicator(_followed(plain), "/rejected/")
        assert await client.connect() == (False, 4003)
        await client.wait()
        failing = WebsocketCommunicator(_followed(plain), "/plain/")
        await failing.connect()
        await failing.send_to(text_data="fail")
        with pytest.raises(LookupError):
            await failing.receive_output()

    asyncio.run(play())
    assert trace.tree("websocket.outcome", "websocket.close.code", "websocket.close.reason").splitlines() == [
        "SERVER websocket outcome=rejected code=4003 reason=no",
        "SERVER websocket outcome=accepted",
        "SERVER websocket.receive ERROR",
    ]


def test_what_goes_on_and_on_is_told_after_a_while(settings):
    from clew.seams.asgi.websocket import _followed

    async def endless(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await receive()
        while True:
            await send({"type": "websocket.send", "text": "tick"})
            await asyncio.sleep(0)

    async def play(trace):
        client = ApplicationCommunicator(_followed(endless), {"type": "websocket", "path": "/", "headers": []})
        await client.send_input({"type": "websocket.connect"})
        await client.receive_output()
        await client.send_input({"type": "websocket.receive", "text": "go"})
        for _ in range(3):
            await client.receive_output()
        told = [span.name for span in trace.spans]
        client.stop(exceptions=False)
        return told

    with tracing(max_stream_seconds=1e-9) as trace:
        assert asyncio.run(play(trace)) == ["websocket", "websocket.receive"]


def test_switched_off_nothing_is_told_and_nothing_changed(settings):
    settings.CHANNEL_LAYERS = LAYERS
    with tracing(asgi_websocket=False, asgi_channel_layer=False) as trace:
        run(talk)
        assert [span.name for span in trace.spans if "websocket" in span.name] == []
