"""What keeps an event loop from its other requests, and what does not."""

from __future__ import annotations

import asyncio
import os
import socket
import time

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connection
from django.http import HttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path

from clew.seams.django.async_bridge import loop_watch
from clew.testing import tracing

pytestmark = pytest.mark.django_db(transaction=True)
TYPE = "blocking_on_loop"
LIMIT_MS = 20
LONG = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT 99999) SELECT max(i) FROM n"


def visit(body, client=AsyncClient, **settings):
    """What is found in a request whose async view runs `body`."""

    async def view(request):
        await body()
        return HttpResponse("ok")

    urls = type("urls", (), {"urlpatterns": [path("", view)]})
    given = {"blocking_on_loop_threshold_ms": LIMIT_MS, **settings}
    with tracing(**given) as trace, override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        asyncio.run(client().get("/")) if client is AsyncClient else client().get("/")
    for each in trace.findings:
        each.attributes()
    return [each for each in trace.findings if each.type == TYPE]


def until_seen(go_on=lambda: None):
    """Go on until the watch has seen it, in this loop; one of an earlier test may not have been let go yet."""
    end, loop = time.monotonic() + 30, asyncio.get_running_loop()
    watched = next(each for each in list(loop_watch._State.watch.loops.values()) if each.loop is loop)
    # It lets the frame go when it has told the detectors.
    while watched.block is None or watched.block.frame is not None:
        assert time.monotonic() < end, "nobody has seen it"
        go_on()


async def sleeps():
    until_seen(lambda: time.sleep(0.05))


async def computes():
    until_seen()


async def calls():
    one, other = socket.socketpair()
    one.settimeout(0.05)
    with one, other:

        def receive():
            try:
                one.makefile("rb").read(1)
            except OSError:
                pass

        until_seen(receive)


async def queries():
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "1"
    try:
        with connection.cursor() as cursor:
            until_seen(lambda: cursor.execute(LONG))
    finally:
        connection.close()
        del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.mark.parametrize(
    ("body", "causes"),
    [
        (sleeps, {"sleep", "computation"}),
        (computes, {"computation"}),
        (calls, {"call", "computation"}),
        (queries, {"database", "computation"}),
    ],
)
def test_detects(body, causes):
    (finding,) = [each for each in visit(body) if "duration_ms" in each.evidence]
    assert finding.evidence["cause"] in causes
    assert finding.evidence["count"] == 1
    assert finding.evidence["duration_ms"] >= LIMIT_MS
    assert finding.site.path == __file__
    assert "kept the event loop for" in finding.message


def test_the_fixes_mend_it():
    """What the sentences say, run in place of what was found; `no_false_positive` has the rest."""

    async def body():
        time.sleep(0.15)

    async def mended():
        await eval(fix.replace("seconds", "0.15").partition("`await ")[2].partition("`")[0], {"asyncio": asyncio})

    (finding,) = visit(body, blocking_on_loop_threshold_ms=60)
    fix = finding.fix
    assert fix == "`await asyncio.sleep(seconds)`"
    assert visit(mended, blocking_on_loop_threshold_ms=60) == []

    async def computing():
        computed.append(sum(number % 7 for number in range(200_000)))
        until_seen()

    async def computing_elsewhere():
        def f():
            computed.append(sum(number % 7 for number in range(200_000)))

        await eval(fix.partition("`await ")[2].partition("`")[0], {"sync_to_async": sync_to_async, "f": f})

    computed = []
    (finding,) = visit(computing)
    fix = finding.fix
    assert visit(computing_elsewhere, blocking_on_loop_threshold_ms=5_000) == []
    assert computed[0] == computed[1]


def test_under_wsgi_nobody_else_is_in_the_loop():
    """Django runs an async view in a loop of its own there, where nobody else waits: nothing is said."""

    async def body():
        time.sleep(0.1)

    assert visit(body, Client) == []


@pytest.fixture
def unsafe(monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    yield
    connection.close()


def test_detects_short_queries_that_are_let_through(unsafe):
    async def body():
        for number in range(3):
            assert not Group.objects.filter(pk=number).exists()

    (finding,) = visit(body, blocking_on_loop_threshold_ms=0)
    assert finding.message.startswith("3 queries were run in the event loop itself")
    assert (finding.site.path, finding.severity) == (__file__, "information")
    assert visit(asks_the_orm, blocking_on_loop_threshold_ms=0) == []


def test_no_false_positive_sync_code_in_a_thread_that_has_a_loop(unsafe):
    def view(request):
        return HttpResponse(str(Group.objects.count()))

    def ask():
        answers.append(Client().get("/").content)
        loop.stop()

    answers, loop = [], asyncio.new_event_loop()
    urls = type("urls", (), {"urlpatterns": [path("", view)]})
    with tracing() as trace, override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        loop.call_soon(ask)
        loop.run_forever()
        loop.close()
    assert answers == [b"0"]
    assert [each.type for each in trace.findings] == []


def test_it_is_the_request_whose_code_it_is():
    waits = asyncio.Event()

    async def quiet(request):
        await waits.wait()
        return HttpResponse("quiet")

    async def loud(request):
        await computes()
        waits.set()
        return HttpResponse("loud")

    async def both():
        await asyncio.gather(AsyncClient().get("/quiet/"), AsyncClient().get("/loud/"))

    urls = type("urls", (), {"urlpatterns": [path("quiet/", quiet), path("loud/", loud)]})
    with tracing(blocking_on_loop_threshold_ms=LIMIT_MS) as trace, override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        asyncio.run(both())
    assert "clew.findings" not in trace.named("GET quiet/").attributes
    assert trace.named("GET loud/").attributes["clew.findings"] == (TYPE,)


async def waits():
    await asyncio.sleep(0.15)


async def in_a_thread():
    await sync_to_async(time.sleep)(0.15)


async def in_a_thread_of_the_pool():
    await sync_to_async(time.sleep, thread_sensitive=False)(0.15)


async def in_the_executor():
    await asyncio.get_running_loop().run_in_executor(None, time.sleep, 0.15)


async def gives_way():
    end = time.monotonic() + 0.15
    while time.monotonic() < end:
        await asyncio.sleep(0)


async def asks_the_orm():
    for number in range(20):
        await Group.objects.filter(pk=number).afirst()


async def nothing():
    pass


@pytest.mark.parametrize(
    "body", [waits, in_a_thread, in_a_thread_of_the_pool, in_the_executor, gives_way, asks_the_orm, nothing]
)
def test_no_false_positive(body):
    assert visit(body, blocking_on_loop_threshold_ms=60) == []


def test_nothing_is_watched_where_the_setting_says_so():
    async def body():
        seen.append(loop_watch._State.watch)
        time.sleep(0.1)

    seen = []
    assert visit(body, blocking_on_loop_threshold_ms=0) == []
    assert seen == [None]


def test_the_thread_waits_without_waking_when_there_are_no_requests_and_ends_with_the_seam():
    urls = type("urls", (), {"urlpatterns": [path("", lambda request: HttpResponse("ok"))]})
    with tracing(blocking_on_loop_threshold_ms=2), override_settings(ROOT_URLCONF=urls, MIDDLEWARE=[]):
        asyncio.run(AsyncClient().get("/"))
        found = loop_watch._State.watch
        end = time.monotonic() + 30
        while not found.is_waiting:
            assert time.monotonic() < end
            time.sleep(0.01)
        assert found.loops == {}
        asyncio.run(AsyncClient().get("/"))
        assert found._wake.is_set()
    found._thread.join(30)
    assert not found._thread.is_alive()


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_has_no_watch():
    async def body():
        assert loop_watch._State.watch is not None
        pid = os.fork()
        if not pid:
            os._exit(0 if loop_watch._State.watch is None else 1)
        codes.append(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))

    codes = []
    visit(body)
    assert codes == [0]
