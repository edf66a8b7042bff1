"""Websockets through the servers people run, and from one process to another by Redis."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess

import pytest

from clew.cli.view.receiver import Receiver
from tests.test_servers import BIN, ROOT, free_port, wait_for

pytest.importorskip("channels")
websockets = pytest.importorskip("websockets")
APPLICATIONS = {"channels": "application", "plain": "plain"}
SITE = "tests.seams.asgi.chat_site"
COMMANDS = {
    "uvicorn": ["uvicorn", "--port", "PORT", "--ws", "websockets"],
    "uvicorn, wsproto": ["uvicorn", "--port", "PORT", "--ws", "wsproto"],
    "uvicorn, sansio": ["uvicorn", "--port", "PORT", "--ws", "websockets-sansio"],
    "daphne": ["daphne", "-p", "PORT"],
    "hypercorn": ["hypercorn", "-b", "127.0.0.1:PORT"],
    "hypercorn, trio": ["hypercorn", "-k", "trio", "-b", "127.0.0.1:PORT"],
}
REDIS = {
    "CHAT_REDIS": "redis://127.0.0.1:6379/13",
    "CHAT_LAYER": "channels_redis.core.RedisChannelLayer",
}


@contextlib.contextmanager
def serving(server, application, receiver, **more):
    port = free_port()
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "CLEW_", "DJANGO_"))}
    env = {
        **kept,
        "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.http_endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SERVICE_NAME": server,
        "OTEL_BSP_SCHEDULE_DELAY": "100",
        "DJANGO_SETTINGS_MODULE": SITE,
        "PYTHONPATH": str(ROOT),
        "CHAT_SERVED": "1",
        **more,
    }
    command = [word.replace("PORT", str(port)) for word in COMMANDS[server]]
    instrument = [BIN / "opentelemetry-instrument"] if "BARE" not in more else []
    process = subprocess.Popen(
        [*instrument, BIN / command[0], *command[1:], f"{SITE}:{APPLICATIONS[application]}"],
        cwd=ROOT, env=env, start_new_session=True,
    )  # fmt: skip
    try:
        yield f"ws://127.0.0.1:{port}/chat/lobby/"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            process.wait(timeout=45)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


async def connected(url):
    for _ in range(900):
        try:
            return await websockets.connect(url, open_timeout=10, proxy=None)
        except OSError:
            await asyncio.sleep(0.1)
    raise AssertionError(f"nobody answers at {url}")


@pytest.mark.parametrize("application", APPLICATIONS)
@pytest.mark.parametrize("server", COMMANDS)
def test_every_server(server, application):
    if server == "hypercorn, trio":
        pytest.importorskip("trio")
        if application == "channels":
            pytest.skip("Channels is asyncio's")
    received = []

    async def talk(url):
        client = await connected(url)
        await client.send("hello")
        assert (await client.recv()).startswith("hello")
        await client.close()

    route = " chat/<room>/" if application == "channels" else ""
    expected = {f"{name}{route}" for name in ("websocket", "websocket.receive", "websocket.disconnect")}
    receiving = Receiver(received.extend, grpc_port=None, http_port=0)
    with receiving as receiver, serving(server, application, receiver) as url:
        asyncio.run(talk(url))
        wait_for(lambda: expected <= {record.name for record in received})
    spans = {record.name: record for record in received}
    assert expected <= set(spans)
    opening = spans[f"websocket{route}"]
    assert opening.attributes["websocket.outcome"] == "accepted"
    assert spans[f"websocket.receive{route}"].links[0][:2] == (opening.trace_id, opening.span_id)
    assert not [record for record in received if record.status == "ERROR"]


@pytest.mark.redis
@pytest.mark.parametrize("layer", ["core.RedisChannelLayer", "pubsub.RedisPubSubChannelLayer"])
def test_from_one_process_to_another(layer):
    pytest.importorskip("channels_redis")
    received = []

    async def talk(here, there):
        one, other = await connected(here), await connected(there)
        await one.send("hello")
        said = [await one.recv(), await other.recv()]
        await one.close()
        await other.close()
        return said

    layer = {**REDIS, "CHAT_LAYER": f"channels_redis.{layer}"}
    with Receiver(received.extend, grpc_port=None, http_port=0) as receiver:
        one, other = (serving(name, "channels", receiver, **layer) for name in ("daphne", "uvicorn"))
        with one as here, other as there:
            assert asyncio.run(talk(here, there)) == ["hello text type"] * 2
            wait_for(lambda: sum(record.name.startswith("chat.message ") for record in received) == 2)
    (sent,) = [record for record in received if record.name == "group_send chat.message"]
    handled = [record for record in received if record.name.startswith("chat.message ")]
    assert {record.service for record in handled} == {"daphne", "uvicorn"}
    assert {(record.trace_id, record.parent_span_id) for record in handled} == {(sent.trace_id, sent.span_id)}


@pytest.mark.redis
def test_a_process_without_clew_receives_what_one_with_it_sends():
    pytest.importorskip("channels_redis")

    async def talk(here, there):
        one, other = await connected(here), await connected(there)
        await one.send("hello")
        said = await other.recv()
        await one.close()
        await other.close()
        return said

    with Receiver(lambda _: None, grpc_port=None, http_port=0) as receiver:
        one, other = (
            serving("daphne", "channels", receiver, **REDIS),
            serving("uvicorn", "channels", receiver, **REDIS, BARE="1"),
        )
        with one as here, other as there:
            assert asyncio.run(talk(here, there)).startswith("hello")
