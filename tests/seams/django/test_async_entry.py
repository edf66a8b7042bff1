"""What sync code waits for an event loop, its request's or a new one."""

from __future__ import annotations

import asyncio
import time

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.auth.models import Group
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from clew.testing import tracing

pytestmark = pytest.mark.django_db(transaction=True)
NAME = "async_to_sync test_async_entry.rates"


async def rates():
    await asyncio.sleep(0)
    return "rates"


async def fails():
    raise LookupError("no rates")


def sync(request):
    return HttpResponse(async_to_sync(rates)())


def nested(request):
    """Into a loop, from there into a thread, and from there into the loop again."""

    async def outer():
        return await sync_to_async(lambda: async_to_sync(rates)())()

    return HttpResponse(async_to_sync(outer)())


def visit(view, client, **settings):
    urls = type("urls", (), {"urlpatterns": [path("", view)]})
    with tracing(**settings) as trace, override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        response = asyncio.run(client().get("/")) if client is AsyncClient else client().get("/")
    assert response.content == b"rates"
    return trace


@pytest.mark.parametrize(("client", "hops"), [(Client, 1), (AsyncClient, 2)])
def test_a_loop_that_is_waited_for(client, hops):
    trace = visit(sync, client, async_wait_threshold_ms=0)
    (span,) = [each for each in trace.spans if each.name.startswith("async_to_sync")]
    assert span.name == NAME
    assert span.attributes["code.function.name"] == f"{__name__}.sync"
    assert span.attributes["django.async.function"] == f"{__name__}.rates"
    assert "django.async.thread_sensitive" not in span.attributes
    took_ms = (span.end_time - span.start_time) / 1e6
    assert took_ms == pytest.approx(span.attributes["django.async.wait_ms"], abs=0.01)
    root = next(each for each in trace.spans if each.parent is None)
    assert root.attributes["clew.async.hop_count"] == hops
    assert root.attributes["clew.async.wait_ms"] >= span.attributes["django.async.wait_ms"]


def test_who_waits_not_is_only_counted():
    trace = visit(sync, Client, async_wait_threshold_ms=10_000)
    assert [each.name for each in trace.spans if each.name.startswith("async_to_sync")] == []
    root = next(each for each in trace.spans if each.parent is None)
    assert root.attributes["clew.async.hop_count"] == 1


def test_a_loop_that_is_busy_is_waited_for():
    async def view(request):
        def ask():
            loop.call_soon_threadsafe(time.sleep, 0.1)
            return async_to_sync(rates)()

        loop = asyncio.get_running_loop()
        return HttpResponse(await sync_to_async(ask)())

    trace = visit(view, AsyncClient, async_wait_threshold_ms=20)
    (span,) = [each for each in trace.spans if each.name.startswith("async_to_sync")]
    assert span.attributes["django.async.wait_ms"] >= 90


@pytest.mark.parametrize("client", [Client, AsyncClient])
def test_each_way_of_a_nest_is_counted_and_shown(client):
    trace = visit(nested, client, async_wait_threshold_ms=0)
    names = sorted(each.name.partition(" ")[0] for each in trace.spans if each.name.startswith(("async_", "sync_")))
    assert names.count("async_to_sync") == 2
    root = next(each for each in trace.spans if each.parent is None)
    assert root.attributes["clew.async.hop_count"] == (3 if client is Client else 4)


def test_an_error_passes_and_is_a_way_all_the_same():
    def view(request):
        with pytest.raises(LookupError, match="no rates"):
            async_to_sync(fails)()
        return HttpResponse("rates")

    trace = visit(view, Client, async_wait_threshold_ms=0)
    (span,) = [each for each in trace.spans if each.name.startswith("async_to_sync")]
    assert span.status.is_unset


def test_queries_of_the_coroutine_are_where_they_were():
    async def counted():
        await Group.objects.acount()
        return "rates"

    def view(request):
        return HttpResponse(async_to_sync(counted)())

    trace = visit(view, Client, async_wait_threshold_ms=10_000)
    view_span = next(each for each in trace.spans if each.name.startswith("view "))
    query = trace.named("SELECT auth_group")
    assert query.parent.span_id == view_span.context.span_id


def test_at_once_from_many_threads_by_one_decorated_function():
    decorated = async_to_sync(rates)

    async def view(request):
        found = await asyncio.gather(*[sync_to_async(decorated, thread_sensitive=False)() for _ in range(8)])
        return HttpResponse(found[0])

    trace = visit(view, AsyncClient, async_wait_threshold_ms=0)
    (span,) = [each for each in trace.spans if each.name.startswith(NAME)]
    assert span.attributes["clew.folded.count"] == 8
    assert span.attributes["django.async.wait_ms"] == pytest.approx(span.attributes["clew.folded.duration_ms"], abs=0.1)
    root = next(each for each in trace.spans if each.parent is None)
    assert root.attributes["clew.async.hop_count"] == 16


def test_outside_of_a_request_nothing_is_told():
    with tracing(async_wait_threshold_ms=0) as trace:
        assert async_to_sync(rates)() == "rates"
    assert list(trace.spans) == []
