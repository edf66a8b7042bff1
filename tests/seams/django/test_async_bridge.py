"""Queries of async code come from the line that awaits them: two lines are two places, a loop is one."""

from __future__ import annotations

import asyncio
import contextvars
import sys

import pytest
from asgiref.sync import ThreadSensitiveContext
from django.contrib.auth.models import Group, Permission
from django.http import HttpResponse
from django.test import AsyncClient, override_settings
from django.urls import path

from clew.source.stack import awaiting_frames
from clew.testing import tracing

pytestmark = pytest.mark.django_db(transaction=True)


async def lines(request):
    await Group.objects.filter(pk=1).afirst()
    await Group.objects.filter(pk=2).afirst()
    await Group.objects.filter(pk=3).afirst()
    return HttpResponse()


async def loop(request):
    for number in range(3):
        await Group.objects.filter(pk=number).afirst()
    return HttpResponse()


def visit(view, **settings):
    urls = type("urls", (), {"urlpatterns": [path("", view)]})
    with tracing(n_plus_one_threshold=3, **settings) as trace, override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        asyncio.run(AsyncClient().get("/"))
    return [(finding.type, finding.site.line) for finding in trace.findings]


def own_thread(get_response):
    """A middleware that is sync only: it waits for the event loop, and what is inside of it."""

    def middleware(request):
        return get_response(request)

    return middleware


async def plain(request):
    return HttpResponse()


def test_a_wait_is_told_where_it_was_and_not_in_the_phase_that_follows():
    urls = type("urls", (), {"urlpatterns": [path("", plain)]})
    chain = [f"{__name__}.own_thread", "tests.site.middleware.AsyncOnlyMiddleware"]
    with tracing(async_wait_threshold_ms=0) as trace, override_settings(ROOT_URLCONF=urls, MIDDLEWARE=chain):
        asyncio.run(AsyncClient().get("/"))
    by_id = {span.context.span_id: span for span in trace.spans}
    waits = [span for span in trace.spans if span.name.startswith("async_to_sync")]
    assert [by_id[span.parent.span_id].name for span in waits] == ["GET /"]
    for span in trace.spans:
        above = by_id.get(span.parent.span_id) if span.parent is not None else None
        assert above is None or above.start_time <= span.start_time


def test_two_lines_are_two_places_and_a_loop_is_one():
    assert visit(lines) == []
    assert visit(loop) == [("n_plus_one", loop.__code__.co_firstlineno + 2)]


def test_on_a_machine_so_busy_that_the_thread_is_faster_than_the_event_loop():
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for _ in range(5):
            assert visit(loop) == [("n_plus_one", loop.__code__.co_firstlineno + 2)]
            assert visit(lines) == []
    finally:
        sys.setswitchinterval(before)


@pytest.mark.skipif(sys.version_info < (3, 11), reason="a task takes no context before")
def test_tasks_of_one_context_know_their_own_lines_and_leave_none_behind():
    """As Django's async receivers are run from 6.1 on: they begin and end in any order."""
    left = []

    async def one():
        for number in range(3):
            await Group.objects.filter(pk=number).afirst()

    async def other():
        for _ in range(3):
            await Permission.objects.filter(pk=0).aexists()

    async def view(request):
        async with ThreadSensitiveContext():
            shared, loop = contextvars.copy_context(), asyncio.get_running_loop()
            await asyncio.gather(*[loop.create_task(each(), context=shared) for each in (one, other, other, one)])
        left.append(shared.run(awaiting_frames))
        return HttpResponse()

    urls = type("urls", (), {"urlpatterns": [path("", view)]})
    with tracing() as trace, override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        asyncio.run(AsyncClient().get("/"))
    assert left == [()]
    asked = {"SELECT auth_group": "one", "SELECT auth_permission": "other"}
    named = [(asked[span.name], span.attributes["code.function.name"]) for span in trace.spans if span.name in asked]
    assert named
    assert all(function.endswith(f"<locals>.{name}") for name, function in named)


def test_switched_off_nothing_of_the_application_is_on_the_stack():
    with tracing(django_async_bridge=False) as trace:
        urls = type("urls", (), {"urlpatterns": [path("", lines)]})
        with override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
            asyncio.run(AsyncClient().get("/"))
    queries = [span for span in trace.spans if span.name == "SELECT auth_group"]
    assert queries
    known = [dict(span.attributes) for span in queries if "code.line.number" in span.attributes]
    assert known == []
