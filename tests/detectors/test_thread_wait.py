"""Requests that wait for threads: whose work held the thread, and what is no such wait."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from django.contrib.auth.models import Group
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from opentelemetry import trace as otel

from clew.testing import tracing

pytestmark = pytest.mark.django_db(transaction=True)
TYPE = "thread_wait"


def slow():
    time.sleep(0.03)


def quick():
    return threading.get_ident()


def visit(body, client=AsyncClient, **settings):
    async def view(request):
        await body()
        return HttpResponse("ok")

    urls = type("urls", (), {"urlpatterns": [path("", view)]})
    given = {"async_wait_threshold_ms": 1, "thread_wait_threshold_ms": 5, **settings}
    with tracing(**given) as trace, override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        asyncio.run(client().get("/")) if client is AsyncClient else client().get("/")
    return trace, [each for each in trace.findings if each.type == TYPE]


def test_detects_what_is_awaited_at_the_same_time_and_runs_one_after_the_other():
    async def body():
        await asyncio.gather(sync_to_async(slow)(), sync_to_async(quick)(), sync_to_async(quick)())

    trace, (finding,) = visit(body)
    assert finding.evidence["held_by"] == f"{__name__}.slow"
    assert finding.evidence["held_by_own"] is True
    assert finding.evidence["thread_sensitive"] is True
    assert f"longest for {__name__}.quick (" in finding.message
    assert f"busy with {__name__}.slow of its own" in finding.message
    waits = [span for span in trace.spans if span.name.startswith("sync_to_async ")]
    assert f"{__name__}.slow" in [span.attributes.get("django.async.held_by") for span in waits]
    assert all(span.end_time - span.start_time > 1_000_000 for span in waits)
    assert "sync_to_async test_thread_wait.quick" in [span.name for span in waits]
    assert f"{__name__}.quick" in [span.attributes["django.async.function"] for span in waits]
    root = trace.named("GET /").attributes
    assert root["clew.async.hop_count"] >= 3
    assert root["clew.async.wait_ms"] >= 5


def test_the_fix_mends_it():
    async def body():
        await asyncio.gather(
            sync_to_async(slow)(),
            sync_to_async(quick, thread_sensitive=False)(),
            sync_to_async(quick, thread_sensitive=False)(),
        )

    async def before():
        await asyncio.gather(sync_to_async(slow)(), sync_to_async(quick)())

    _, (finding,) = visit(before)
    assert "`sync_to_async(quick, thread_sensitive=False)`" in finding.fix
    _, found = visit(body)
    assert found == []


async def apart(work, context=None):
    with otel.get_tracer("tests").start_as_current_span("consumer"):
        if context is None:
            await work()
        else:
            async with context:
                await work()


def test_detects_the_one_thread_of_the_process_and_the_fix_mends_it():
    async def one():
        await sync_to_async(slow)()

    async def other():
        await asyncio.sleep(0)
        await sync_to_async(quick)()

    async def together(*contexts):
        tasks = [apart(one, contexts[0] if contexts else None), apart(other, contexts[1] if contexts else None)]
        await asyncio.gather(*tasks)

    with tracing(async_wait_threshold_ms=1, thread_wait_threshold_ms=5) as trace:
        asyncio.run(together())
        (finding,) = [each for each in trace.findings if each.type == TYPE]
        assert "of another request or task" in finding.message
        assert "ThreadSensitiveContext" in finding.fix
        trace.clear()
        asyncio.run(together(ThreadSensitiveContext(), ThreadSensitiveContext()))
        assert [each for each in trace.findings if each.type == TYPE] == []


def test_detects_it_under_wsgi_too():
    """Where the thread that serves the request is the one."""

    async def body():
        await asyncio.gather(sync_to_async(slow)(), sync_to_async(quick)())

    _, (finding,) = visit(body, Client)
    assert finding.evidence["held_by"] == f"{__name__}.slow"


async def one_after_the_other():
    await sync_to_async(slow)()
    await sync_to_async(quick)()
    await sync_to_async(slow)()


async def threads_of_their_own():
    await asyncio.gather(*[sync_to_async(slow, thread_sensitive=False)() for _ in range(3)])


async def coroutines():
    await asyncio.gather(*[asyncio.sleep(0.01) for _ in range(3)])


async def queries():
    for number in range(20):
        await Group.objects.filter(pk=number).afirst()


async def nested():
    def below():
        slow()
        return async_to_sync(inner)()

    async def inner():
        return await sync_to_async(quick)()

    await sync_to_async(below)()


@pytest.mark.parametrize("body", [one_after_the_other, threads_of_their_own, coroutines, queries, nested])
@pytest.mark.parametrize("client", [AsyncClient, Client])
def test_no_false_positive(body, client):
    _, found = visit(body, client)
    assert found == []


def test_never_where_the_setting_says_so():
    async def body():
        await asyncio.gather(sync_to_async(slow)(), sync_to_async(quick)())

    _, found = visit(body, thread_wait_threshold_ms=0)
    assert found == []


def test_a_sync_request_says_nothing_of_hops():
    urls = type("urls", (), {"urlpatterns": [path("", lambda request: HttpResponse("ok"))]})
    with tracing() as trace, override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        Client().get("/")
    assert not [name for name in trace.named("GET /").attributes if ".async." in name]
