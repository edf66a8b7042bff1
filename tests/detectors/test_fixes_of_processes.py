"""What `blocking_on_loop` and `memory_growth` say mends them, pasted from their sentences and run."""

from __future__ import annotations

import re
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group
from django.db import connection

from clew.detectors import blocking_on_loop, memory_growth
from tests.celery_site.app import make_app
from tests.detectors.test_blocking_on_loop import until_seen, visit

pytestmark = pytest.mark.django_db(transaction=True)
ENOUGH_MS = 5_000


async def pasted(code, **names):
    """What code that awaits gives, run as it stands."""
    space = dict(names)
    exec(f"async def mended():\n    {code}", space)
    return await space["mended"]()


def snippets(fix):
    return [each for each in re.findall("`(.*?)`", fix) if "await " in each]


@pytest.fixture
def unsafe(monkeypatch):
    monkeypatch.setenv("DJANGO_ALLOW_ASYNC_UNSAFE", "1")
    yield
    connection.close()


def test_queries_on_the_loop(unsafe, monkeypatch):
    Group.objects.create(name="one")
    found = []

    async def body():
        found.append(Group.objects.get(name="one"))

    (finding,) = visit(body)
    orm, bridge = snippets(finding.fix)
    qs = Group.objects.filter(name="one")

    async def mended():
        found.append(await pasted(f"return {orm}", qs=qs))
        found.append(await pasted(f"return {bridge}", sync_to_async=sync_to_async, f=qs.get))
        found.extend([each async for each in qs])

    monkeypatch.delenv("DJANGO_ALLOW_ASYNC_UNSAFE")
    assert visit(mended, blocking_on_loop_threshold_ms=ENOUGH_MS) == []
    assert len(found) == 4
    assert len(set(found)) == 1


class Slow(BaseHTTPRequestHandler):
    def do_GET(self):
        time.sleep(0.15)
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"rates")

    def log_message(self, *said):
        pass


@pytest.fixture
def url():
    with ThreadingHTTPServer(("127.0.0.1", 0), Slow) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


def test_a_call_to_another_service(url):
    httpx = pytest.importorskip("httpx")
    found = []

    def call():
        with urllib.request.urlopen(url) as response:
            found.append(response.read())

    async def body():
        until_seen(call)

    (finding,) = visit(body)
    assert finding.evidence["cause"] in ("call", "computation")
    fix = blocking_on_loop._FIXES["call"]
    assert finding.evidence["cause"] == "computation" or finding.fix == fix
    get, bridge = snippets(fix)
    space = {"httpx": httpx}
    exec(re.search("`(client = .*?)`", fix)[1], space)

    async def mended():
        found.append((await pasted(f"return {get}", client=space["client"], url=url)).content)
        await pasted(bridge, sync_to_async=sync_to_async, f=call)

    before = len(found)
    assert visit(mended, blocking_on_loop_threshold_ms=100) == []
    assert found[before:] == [b"rates", b"rates"]


def test_debug_keeps_queries(settings):
    settings.DEBUG = True
    Group.objects.count()
    assert connection.queries_log
    fix = memory_growth._fix("add", is_web=False)
    space = {}
    exec(re.search(r"set (DEBUG = \w+)", fix)[1], space)
    connection.queries_log.clear()
    settings.DEBUG = space["DEBUG"]
    Group.objects.count()
    assert not connection.queries_log
    assert "DEBUG" not in memory_growth._fix("add", is_web=False)


def test_options_that_recycle():
    """Each is one that its program takes, as it is written."""
    app_config = pytest.importorskip("gunicorn.config")
    main = pytest.importorskip("uvicorn.main").main
    gunicorn, uvicorn = re.search(r"`gunicorn (.*?)` \(uvicorn: `(.*?)`\)", memory_growth._RECYCLE_WORKERS).groups()
    options = app_config.Config().parser().parse_args([*gunicorn.split(), "site:application"])
    assert (options.max_requests, options.max_requests_jitter) == (1000, 100)
    context = main.make_context("uvicorn", [*uvicorn.split(), "site:application"])
    assert context.params["limit_max_requests"] == 1000
    for name in re.findall(r"worker_max_\w+", memory_growth._RECYCLE_CHILDREN):
        assert hasattr(make_app().conf, name)
