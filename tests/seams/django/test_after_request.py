"""Work that outlives its request, in a thread with a copied context or a task of asyncio, is below what began it."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from opentelemetry import trace as api

from clew.story import local_trace
from clew.testing import tracing

IS_OVER = threading.Event()
THREADS, TASKS = [], []
MARKED = weakref.WeakSet()
HERE = "tests.seams.django.test_after_request."


class Marker:
    """Lives as long as what is known of the request."""


def work():
    assert IS_OVER.wait(30)
    try:
        with transaction.atomic():
            Group.objects.create(name="late")
            transaction.on_commit(told)
        list(Group.objects.all())
        with api.get_tracer("site").start_as_current_span("site's own"):
            for _ in range(6):
                Group.objects.filter(name="x").first()
    finally:
        connection.close()


def told():
    pass


def begin():
    THREADS.append(threading.Thread(target=contextvars.copy_context().run, args=(work,)))
    THREADS[-1].start()


def in_thread(request):
    held = Marker()
    MARKED.add(held)
    local_trace.current().held["marker"] = held
    begin()
    return HttpResponse("begun")


def in_pool(request):
    pool = ThreadPoolExecutor(1)
    TASKS.append(pool.submit(contextvars.copy_context().run, work))
    pool.shutdown(wait=False)
    return HttpResponse("begun")


async def in_task(request):
    TASKS.append(asyncio.create_task(later()))
    return HttpResponse("begun")


async def later():
    await asyncio.to_thread(IS_OVER.wait, 30)
    await Group.objects.acreate(name="later")


def nothing(request):
    return HttpResponse("nothing")


class Beginning:
    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        begin()
        return self.get_response(request)


urlpatterns = [path("thread/", in_thread), path("pool/", in_pool), path("task/", in_task), path("nothing/", nothing)]
SITE = override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])


@pytest.fixture(autouse=True)
def begun():
    IS_OVER.clear()
    yield
    IS_OVER.set()
    THREADS.clear()
    TASKS.clear()


def finished():
    IS_OVER.set()
    for each in THREADS:
        each.join(30)
    for each in TASKS:
        each.result(30)


def below(trace, parent):
    return [span.name for span in trace.spans if span.parent and span.parent.span_id == parent.context.span_id]


def named(trace, name):
    (found,) = [span for span in trace.spans if span.name == name]
    return found


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("url", ["thread", "pool"])
def test_what_a_thread_does_after_the_request_is_below_the_view(url):
    with SITE, tracing() as trace:
        Client().get(f"/{url}/")
        assert [span.name for span in trace.spans][-1] == f"GET {url}/"
        finished()
    view = named(trace, f"view test_after_request.in_{url}")
    late = below(trace, view)
    assert sorted(late) == [
        "SELECT auth_group",
        "on_commit test_after_request.told",
        "site's own",
        "transaction default",
    ]
    assert below(trace, named(trace, "transaction default")) == ["INSERT auth_group"]
    assert set(below(trace, named(trace, "site's own"))) == {"SELECT auth_group"}


@pytest.mark.django_db(transaction=True)
def test_what_a_middleware_has_begun_is_below_the_request():
    with SITE, override_settings(MIDDLEWARE=[f"{__name__}.Beginning"]), tracing() as trace:
        Client().get("/nothing/")
        finished()
    assert "transaction default" in below(trace, named(trace, "GET nothing/"))


@pytest.mark.django_db(transaction=True)
def test_a_task_of_asyncio():
    async def served():
        await AsyncClient().get("/task/")
        IS_OVER.set()
        await asyncio.gather(*TASKS)

    with SITE, tracing() as trace:
        asyncio.run(served())
    assert "INSERT auth_group" in below(trace, named(trace, "view test_after_request.in_task"))


@pytest.mark.django_db(transaction=True)
def test_an_unsampled_request_leaves_unsampled_work():
    unsampled = {"traceparent": f"00-{1:032x}-{2:016x}-00"}
    with SITE, tracing() as trace:
        Client().get("/thread/", headers=unsampled)
        finished()
    assert not trace.spans


@pytest.mark.django_db(transaction=True)
def test_nothing_is_kept_of_a_request_whose_work_is_over():
    with SITE, tracing():
        Client().get("/thread/")
        finished()
        THREADS.clear()
        gc.collect()
        assert not MARKED
