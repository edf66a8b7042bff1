"""The advice of the detectors that watch what surrounds a query, followed and run: the finding is gone, the result is
the same, and what the finding says as code stands in what was run."""

from __future__ import annotations

import inspect
import logging
import time

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import Group
from django.core.cache import caches
from django.db import transaction
from django.http import HttpResponse
from django.test import Client
from django.urls import path
from opentelemetry import trace as otel
from opentelemetry.trace import SpanKind

from clew.detectors import session_saved_on_every_request
from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.detectors.shared import found
from tests.detectors.test_cache import together
from tests.detectors.test_stale_replica_read import MIRROR, second  # noqa: F401 - a fixture
from tests.seams.django.test_transaction import served

pytestmark = [pytest.mark.urls("tests.seams.django.test_transaction"), pytest.mark.django_db(transaction=True)]
logger = logging.getLogger("shop")


def of(kind, function):
    """What a function gives, and what of one type is found."""
    with tracing() as trace:
        given = function()
    return given, found(trace, kind)


def pay():
    with otel.get_tracer("opentelemetry.instrumentation.any").start_as_current_span(
        "POST", kind=SpanKind.CLIENT, attributes={"http.request.method": "POST", "url.full": "https://bank.example/pay"}
    ):
        return "paid"


def test_io_in_transaction():
    said = []

    def bad():
        with transaction.atomic():
            Group.objects.create(name="a")
            said.append(pay())

    def before():
        paid = pay()
        with transaction.atomic():
            Group.objects.create(name="a")
            said.append(paid)

    def after():
        with transaction.atomic():
            Group.objects.create(name="a")
            transaction.on_commit(lambda: said.append(pay()))

    results = []
    for view in (bad, before, after):
        status, findings = of("io_in_transaction", lambda view=view: served(view).status_code)
        results.append((status, said.copy(), Group.objects.count(), bool(findings)))
        assert not findings or "transaction.on_commit(...)" in findings[0].fix
        said.clear()
        Group.objects.all().delete()
    assert results == [(200, ["paid"], 1, True), (200, ["paid"], 1, False), (200, ["paid"], 1, False)]


def test_stale_replica_read(second):  # noqa: F811
    second("copy", **MIRROR)
    given = []

    def bad():
        Group.objects.create(name="new")
        Group.objects.using("copy").filter(name="new").first()
        given.append("new")

    def mended():
        Group.objects.create(name="new")
        given.append(Group.objects.using("default").filter(name="new").first().name)

    (_, [finding]), (_, left) = (
        of("stale_replica_read", lambda view=view: (served(view), Group.objects.all().delete()))
        for view in (bad, mended)
    )
    assert finding.fix.replace("'", '"').removeprefix("read it with ") in inspect.getsource(mended)
    assert (left, given) == ([], ["new", "new"])


def saving(request):
    request.session["theme"] = "dark"
    return HttpResponse(request.session["theme"])


def changing(request):
    key, value = "theme", "dark"
    if request.session.get(key) != value: request.session[key] = value  # fmt: skip # noqa: E701
    return HttpResponse(request.session["theme"])


urlpatterns = [path("saving/", saving), path("changing/", changing)]


@pytest.mark.urls(__name__)
def test_session_saved_on_every_request(settings):
    settings.MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
    session_saved_on_every_request._saves.clear()

    def visits(page):
        client = Client()
        return {client.get(page).content for _ in range(12)}

    kind = "session_saved_on_every_request"
    (before, findings), (after, left) = (
        of(kind, lambda page=page: visits(page)) for page in ("/saving/", "/changing/")
    )
    assert findings[0].fix.partition(": ")[2] in inspect.getsource(changing)
    assert (after, left) == (before, [])


def ran(task):
    app = make_app(task_always_eager=True)
    return app.task(name="task", shared=False, **getattr(task, "options", {}))(task).apply()


def fail():
    raise ValueError("no")


def test_silent_failure_of_a_logged_exception():
    def bad():
        try:
            fail()
        except ValueError:
            logger.exception("failed")

    def raised():
        try:
            fail()
        except ValueError:
            logger.exception("failed")
            raise

    def retried():
        try:
            fail()
        except ValueError as error:
            logger.warning("failed: %s", error)
            raise

    retried.options = {"autoretry_for": (ValueError,), "max_retries": 2, "retry_backoff": 0, "default_retry_delay": 0}
    (state, [finding]), *others = (
        of("silent_failure", lambda task=task: ran(task).state) for task in (bad, raised, retried)
    )
    assert state == "SUCCESS"
    assert finding.fix.startswith("raise it again after logging, or let the task be tried again (autoretry_for, ")
    assert others == [("FAILURE", []), ("FAILURE", [])]


@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
def test_silent_failure_of_a_coroutine():
    done = []

    async def bad():
        done.append("sent")

    def mended():
        async_to_sync(bad)()

    (_, [finding]), (state, left) = (of("silent_failure", lambda task=task: ran(task).state) for task in (bad, mended))
    assert "async_to_sync" in finding.fix
    assert (state, left, done) == ("SUCCESS", [], ["sent"])


def place():
    with transaction.atomic():
        Group.objects.create(name="a")
        fail()


def test_rolled_back_but_succeeded():
    def bad():
        try:
            place()
        except Exception:
            logger.exception("could not place it")

    def answered():
        try:
            place()
        except Exception:
            logger.exception("could not place it")
            return HttpResponse("no", status=503)

    results = []
    for view in (bad, place, answered):
        status, findings = of("rolled_back_but_succeeded", lambda view=view: served(view).status_code)
        results.append((status, Group.objects.count(), [each.type for each in findings]))
    assert results == [(200, 0, ["rolled_back_but_succeeded"]), (500, 0, []), (503, 0, [])]


def test_cache_stampede(settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "fixes"}}
    key, given = "front", []

    def bad(cache, missed):
        value = cache.get(key)
        if value is None:
            missed.wait()
            cache.set(key, "page")
            value = "page"
        given.append(value)

    def mended(cache, missed):
        value = cache.get(key)
        if value is None:
            missed.wait()
            if cache.add(key + ".lock", 1, 30):
                cache.set(key, "page")
            while (value := cache.get(key)) is None:
                time.sleep(0)
        given.append(value)

    results = []
    for compute in (bad, mended):
        caches["default"].clear()
        _, findings = of("cache_stampede", lambda compute=compute: together(caches["default"], 3, compute))
        results.append((given.copy(), bool(findings)))
        assert not findings or "cache.add(key + '.lock', 1, 30)" in findings[0].fix
        given.clear()
    assert results == [(["page"] * 3, True), (["page"] * 3, False)]
