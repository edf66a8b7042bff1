"""Metrics of websockets by route, recorded or not; without a meter provider none is made."""

from __future__ import annotations

import asyncio

import pytest

pytest.importorskip("channels")
from channels.testing import WebsocketCommunicator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON

from clew.engine import metric
from clew.seams.asgi.websocket import _followed
from clew.spans import scope
from clew.testing import tracing
from tests.metered import points, reader, values  # noqa: F401 - a fixture
from tests.seams.asgi.chat_site import plain
from tests.seams.asgi.test_websocket import LAYERS, SITE, run, talk

pytestmark = pytest.mark.django_db(transaction=True)
CHAT = "chat/<slug:room>/"
OPEN, LASTED = "clew.websocket.connections", "clew.websocket.connection.duration"
HANDLED, SENT = "clew.websocket.message.duration", "clew.websocket.sent.messages"


@pytest.fixture(autouse=True)
def layers(settings):
    settings.CHANNEL_LAYERS = LAYERS


@pytest.mark.parametrize("sampler", [ALWAYS_ON, ALWAYS_OFF], ids=["sampled", "unsampled"])
def test_a_connection_of_channels_and_its_messages(reader, sampler, monkeypatch):  # noqa: F811
    async def conversation(client):
        await talk(client)
        assert values(reader, OPEN) == {(CHAT,): 1}

    with tracing():
        monkeypatch.setattr(scope.pipeline().provider, "sampler", sampler)
        run(conversation)
        assert values(reader, OPEN) == {(CHAT,): 0}
        assert values(reader, LASTED) == {(CHAT, "accepted"): 1}
        assert values(reader, HANDLED) == {(CHAT, "websocket.disconnect"): 1, (CHAT, "websocket.receive"): 1}
        assert values(reader, SENT) == {(CHAT,): 1}


@pytest.mark.parametrize("url", ["/chat/lobby/", "/sync/lobby/"])
def test_a_message_that_fails_says_how_and_leaves_nothing_open(reader, url):  # noqa: F811
    async def play():
        client = WebsocketCommunicator(SITE, url, headers=[(b"origin", b"http://shop.example")])
        await client.connect()
        await client.send_json_to("fail")
        with pytest.raises(LookupError):
            await client.receive_output()

    with tracing():
        asyncio.run(play())
        assert list(values(reader, OPEN).values()) == [0]
        ((error, _, kind),) = values(reader, HANDLED)
        assert (error, kind) == ("LookupError", "websocket.receive")


@pytest.mark.parametrize(
    ("url", "origin", "outcome"),
    [
        ("/closed/", "http://shop.example", "rejected"),
        ("/chat/lobby/", "http://evil.example", "rejected"),
        ("/broken/", "http://shop.example", "failed"),
    ],
)
def test_one_that_never_opened_is_not_counted_as_open(reader, url, origin, outcome):  # noqa: F811
    async def play():
        client = WebsocketCommunicator(SITE, url, headers=[(b"origin", origin.encode())])
        try:
            await client.connect()
        except LookupError:
            return
        await client.disconnect()

    with tracing():
        asyncio.run(play())
        assert OPEN not in points(reader)
        assert [key[-1] for key in values(reader, LASTED)] == [outcome]


def test_of_a_plain_application_no_route_is_known(reader):  # noqa: F811
    async def conversation(client):
        await client.connect()
        await client.send_to(text_data="hello")
        assert await client.receive_from() == "hello"

    with tracing():
        run(conversation, application=_followed(plain))
        assert values(reader, OPEN) == {(): 0}
        assert values(reader, LASTED) == {("accepted",): 1}
        assert values(reader, HANDLED) == {("websocket.disconnect",): 1, ("websocket.receive",): 1}
        assert values(reader, SENT) == {(): 1}


def test_without_a_meter_provider_no_instrument_is_made():
    with tracing():
        run(talk)
    assert [name for name, each in metric.METRICS.items() if "websocket" in name and each._record] == []
