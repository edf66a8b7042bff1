"""Messages of an application without Channels that receives in other tasks than the one it was called in."""

from __future__ import annotations

import asyncio
import sys

import pytest

pytest.importorskip("channels")
from channels.testing import WebsocketCommunicator
from django.contrib.auth.models import Group
from django.core.cache import cache
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF
from opentelemetry.trace import StatusCode

from clew.bootstrap import active
from clew.seams.asgi.websocket import _followed
from clew.testing import tracing
from tests.seams.asgi.test_websocket import LAYERS, ROUTER
from tests.seams.asgi.test_websocket import talk as talk_to_chat

pytestmark = pytest.mark.django_db(transaction=True)
# Where a task says its context.
NEW = sys.version_info >= (3, 12)


async def answer(message, send):
    if message["text"] == "fail":
        raise LookupError("no such message")
    await send({"type": "websocket.send", "text": str(await Group.objects.acount())})


async def accept(receive, send):
    await receive()
    await send({"type": "websocket.accept"})


async def one_reader(scope, receive, send):
    await accept(receive, send)

    async def read():
        while (message := await receive())["type"] == "websocket.receive":
            await answer(message, send)

    await asyncio.create_task(read())


async def reader_and_writer(scope, receive, send):
    await accept(receive, send)

    async def read():
        while (message := await receive())["type"] == "websocket.receive":
            await answer(message, send)

    async def write():
        while True:
            await asyncio.sleep(0.001)

    writer = asyncio.create_task(write())
    try:
        await asyncio.gather(read())
    finally:
        writer.cancel()


async def a_task_for_each(scope, receive, send):
    """With `asyncio.wait`, as who waits for something else meanwhile."""
    await accept(receive, send)
    while True:
        received = asyncio.create_task(receive())
        await asyncio.wait({received}, timeout=30)
        if received.result()["type"] != "websocket.receive":
            return
        await answer(received.result(), send)


async def with_a_timeout(scope, receive, send):
    await accept(receive, send)
    while (message := await asyncio.wait_for(receive(), 30))["type"] == "websocket.receive":
        await answer(message, send)


IN_MAIN = [a_task_for_each, with_a_timeout]
ALL = [one_reader, reader_and_writer, *(IN_MAIN if NEW else [])]
by_name = pytest.mark.parametrize("application", ALL, ids=lambda each: each.__name__)


def talk(application, *texts):
    async def play():
        client = WebsocketCommunicator(_followed(application), "/plain/")
        await client.connect()
        for text in texts:
            await client.send_to(text_data=text)
            assert await client.receive_from() == "0"
        await client.disconnect()
        await client.wait()

    asyncio.run(play())


@by_name
def test_each_message_is_told_with_what_it_asks(application):
    with tracing() as trace:
        talk(application, "one", "two")
    message = ["SERVER websocket.receive", "  CLIENT SELECT auth_group"]
    assert trace.tree().splitlines() == ["SERVER websocket", *message, *message, "SERVER websocket.disconnect"]
    opening, *messages = [span for span in trace.spans if span.name.startswith("websocket")]
    assert [link.context.span_id for each in messages for link in each.links] == [opening.context.span_id] * 3


@by_name
def test_one_that_fails_passes_and_is_told(application):
    async def play():
        client = WebsocketCommunicator(_followed(application), "/plain/")
        await client.connect()
        await client.send_to(text_data="fail")
        with pytest.raises(LookupError, match="no such message"):
            await client.receive_output()

    with tracing() as trace:
        asyncio.run(play())
    message = trace.named("websocket.receive")
    assert message.status.status_code is StatusCode.ERROR
    assert trace.named("websocket").status.status_code is StatusCode.UNSET


@by_name
def test_unsampled_the_answers_are_the_same(application, monkeypatch):
    with tracing() as trace:
        monkeypatch.setattr(active().provider, "sampler", ALWAYS_OFF)
        talk(application, "one", "two")
    assert trace.spans == ()


def test_a_consumer_below_a_middleware_with_a_task_of_its_own(settings):
    settings.CHANNEL_LAYERS = LAYERS

    async def middleware(scope, receive, send):
        await asyncio.create_task(ROUTER(scope, receive, send))

    async def play():
        client = WebsocketCommunicator(_followed(middleware), "/chat/lobby/")
        await talk_to_chat(client)
        await client.disconnect()

    with tracing() as trace:
        asyncio.run(play())
    assert trace.tree().splitlines()[2:5] == [
        "SERVER websocket.receive chat/<slug:room>/",
        "  view test_websocket.Chat.receive_json",
        "    CLIENT SELECT auth_group",
    ]


@pytest.mark.skipif(not NEW, reason="a task does not say its context before")
def test_eager_tasks_are_left_alone():
    async def eager(scope, receive, send):
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        await a_task_for_each(scope, receive, send)

    with tracing() as trace:
        talk(eager, "one", "two")
    assert trace.spans[0].name == "websocket"


def test_a_reader_of_many_messages_is_watched_once():
    """Not with a callback for each message."""
    seen = []

    async def application(scope, receive, send):
        await accept(receive, send)

        async def read():
            while (message := await receive())["type"] == "websocket.receive":
                await answer(message, send)
            seen.append(len(asyncio.current_task()._callbacks or ()))

        await asyncio.create_task(read())

    with tracing():
        talk(application, *["again"] * 20)
    assert seen[0] <= 2


def in_a_nursery(trio):
    async def application(scope, receive, send):
        await accept(receive, send)

        async def read():
            while (message := await receive())["type"] == "websocket.receive":
                cache.get("menu")
                await send({"type": "websocket.send", "text": message["text"]})

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read)

    return application


def in_one_task(trio):
    async def application(scope, receive, send):
        await accept(receive, send)
        while (await receive())["type"] == "websocket.receive":
            cache.get("menu")
            await trio.sleep(0)

    return application


@pytest.mark.parametrize("make", [in_a_nursery, in_one_task])
def test_below_another_librarys_loop(make):
    trio = pytest.importorskip("trio")
    kinds = iter(["connect", "receive", "receive", "disconnect"])

    async def receive():
        await trio.sleep(0)
        return {"type": f"websocket.{next(kinds)}", "text": "hello"}

    async def send(message):
        await trio.sleep(0)

    with tracing() as trace:
        trio.run(_followed(make(trio)), {"type": "websocket", "path": "/", "headers": []}, receive, send)
    message = ["SERVER websocket.receive", "  CLIENT cache get default"]
    assert trace.tree().splitlines() == ["SERVER websocket", *message, *message, "SERVER websocket.disconnect"]
