"""Sessions of every engine: load, save, create, a new key, flush; who touched it first; nothing of it is told."""

from __future__ import annotations

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from django.contrib.sessions.backends import cached_db
from django.contrib.sessions.backends.base import SessionBase
from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from clew.detectors import session_saved_on_every_request
from clew.testing import tracing

pytestmark = [pytest.mark.django_db, pytest.mark.urls(__name__)]
EMPTY = "django.session.empty"


class SessionStore(cached_db.SessionStore):
    """A site's own engine."""

    def load(self):
        return super().load()


def visit(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return HttpResponse(str(request.session["visits"]))


async def avisit(request):
    visits = await sync_to_async(request.session.get)("visits", 0) + 1
    request.session["visits"] = visits
    return HttpResponse(str(visits))


def leave(request):
    request.session.flush()
    return HttpResponse()


def rotate(request):
    request.session.cycle_key()
    return HttpResponse()


urlpatterns = [path("visit/", visit), path("avisit/", avisit), path("leave/", leave), path("rotate/", rotate)]


@pytest.fixture
def trace():
    with tracing() as captured:
        yield captured


def sessions(trace, *attributes):
    lines = [line.strip() for line in trace.tree(*attributes).splitlines()]
    return [line for line in lines if line.startswith("session")]


def test_the_database(trace):
    client = Client()
    client.get("/visit/")
    assert sessions(trace) == ["session save", "session create", "session save"]
    trace.clear()
    assert client.get("/visit/").content == b"2"
    found = trace.named("session load")
    assert found.attributes["django.session.engine"] == "django.contrib.sessions.backends.db"
    assert found.attributes[EMPTY] is False
    assert found.attributes["code.line.number"] == visit.__code__.co_firstlineno + 1
    below = [span.name for span in trace.spans if span.parent and span.parent.span_id == found.context.span_id]
    assert below == ["SELECT django_session"]
    key = client.session.session_key
    assert not [span for span in trace.spans if key in str(dict(span.attributes))]


@pytest.mark.parametrize("engine", ["cache", "cached_db", "file", "signed_cookies", "own"])
def test_every_engine(trace, settings, engine, tmp_path):
    settings.SESSION_FILE_PATH = str(tmp_path)
    module = __name__ if engine == "own" else f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_ENGINE = module
    client = Client()
    client.get("/visit/")
    trace.clear()
    assert client.get("/visit/").content == b"2"
    assert sessions(trace, EMPTY) == [
        "session load empty=False",
        "session save",
    ]
    assert trace.named("session load").attributes["django.session.engine"] == module


def test_a_new_key_and_the_end(trace):
    client = Client()
    client.get("/visit/")
    trace.clear()
    client.get("/rotate/")
    client.get("/leave/")
    found = sessions(trace)
    assert "session cycle_key" in found
    assert "session flush" in found


@pytest.mark.django_db(transaction=True)
def test_async(trace):
    async def twice():
        client = AsyncClient()
        await client.get("/avisit/")
        trace.clear()
        return await client.get("/avisit/")

    assert async_to_sync(twice)().content == b"2"
    assert sessions(trace) == ["session load", "session save"]


def reads(request):
    return HttpResponse(str(request.session.get("visits", 0)))


urlpatterns.append(path("reads/", reads))
SAVED = "session_saved_on_every_request"


@pytest.fixture(autouse=True)
def _no_saves_before():
    session_saved_on_every_request._saves.clear()


def kinds(trace):
    return [each.type for each in trace.findings]


def test_detects_a_session_that_is_saved_on_every_request(trace, settings):
    client = Client()
    client.get("/visit/")
    settings.SESSION_SAVE_EVERY_REQUEST = True
    for _ in range(9):
        client.get("/reads/")
    assert kinds(trace) == []
    client.get("/reads/")
    assert kinds(trace) == [SAVED]
    (finding,) = trace.findings
    assert "SESSION_SAVE_EVERY_REQUEST is on" in finding.message
    trace.clear()
    settings.SESSION_SAVE_EVERY_REQUEST = False
    for _ in range(12):
        client.get("/reads/")
    assert kinds(trace) == []


def test_detects_a_view_that_writes_each_time_and_not_one_that_posts(trace):
    client = Client()
    for _ in range(11):
        client.post("/visit/")
    assert kinds(trace) == []
    for _ in range(11):
        client.get("/visit/")
    assert kinds(trace) == [SAVED, SAVED]
    assert "something writes to request.session" in trace.findings[0].message


def test_undone():
    before = vars(SessionBase)["flush"]
    with tracing():
        Client().get("/visit/")
        assert vars(SessionBase)["flush"] is not before
    assert vars(SessionBase)["flush"] is before
