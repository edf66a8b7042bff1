"""What people have reported against other tracers of Django and Celery, tried with clew; each test names its report."""

from __future__ import annotations

import asyncio
import uuid

import django
import pytest
from asgiref.sync import iscoroutinefunction
from celery import Task, chain, signals
from celery.contrib.testing.worker import start_worker
from django.core.cache import caches
from django.http import HttpResponse, StreamingHttpResponse
from django.test import AsyncClient, Client, override_settings
from django.urls import path
from django.utils.decorators import async_only_middleware
from opentelemetry import trace as otel
from opentelemetry.trace import StatusCode

from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.celery_site.worker import DEADLINE
from tests.seams.celery.test_run import until

MEMORY = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache", "LOCATION": "reports"}}
AUTH = [
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
]


class NoTruth:
    """As a table of pandas is."""

    def __bool__(self):
        raise NotImplementedError

    __eq__ = __len__ = __bool__
    __hash__ = None


@async_only_middleware
def of_async_only(get_response):
    assert iscoroutinefunction(get_response)

    async def middleware(request):
        response = await get_response(request)
        response["seen"] = "yes"
        return response

    return middleware


def blasting(get_response):
    def middleware(request):
        raise ZeroDivisionError("in a middleware")

    return middleware


def plain(request):
    return HttpResponse("ok")


async def waiting(request):
    await asyncio.sleep(0)
    return HttpResponse(str(asyncio.get_running_loop() is not None))


async def endless(request):
    async def body():
        yield b"first"
        await asyncio.sleep(60)

    return StreamingHttpResponse(body())


def streaming(request):
    def body():
        with otel.get_tracer("app").start_as_current_span("part"):
            yield b"part"

    return StreamingHttpResponse(body())


urlpatterns = [
    path("plain/", plain),
    path("waiting/", waiting),
    path("endless/", endless),
    path("streaming/", streaming),
]


@pytest.fixture
def site():
    """Serves with a middleware of these; gives the answer and what was recorded."""

    def serve(url, *middleware, is_async=False):
        with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=list(middleware)), tracing() as trace:
            if is_async:
                return asyncio.run(AsyncClient().get(url)), trace
            response = Client(raise_request_exception=False).get(url)
            response.getvalue()
            return response, trace

    return serve


def test_a_middleware_of_both_kinds_may_be_a_function(site):
    """getsentry/sentry-python 1014, 937, 849: no `__acall__`; async views ran in a thread."""
    for is_async, url in ((True, "/waiting/"), (False, "/plain/")):
        response, trace = site(url, "tests.site.middleware.function_middleware", is_async=is_async)
        assert response.status_code == 200
        assert "function_middleware" in str(trace.named(f"GET {url[1:]}").attributes["django.middleware.timings"])


def test_a_middleware_of_async_kind_only_gets_an_async_handler(site):
    """getsentry/sentry-python 3506."""
    response, _ = site("/waiting/", f"{__name__}.of_async_only", is_async=True)
    assert response["seen"] == "yes"


def test_what_a_streamed_body_does_is_in_the_request(site):
    """getsentry/sentry-python 3736, opentelemetry-python-contrib 4681: another trace; the span ended before."""
    _, trace = site("/streaming/")
    part, root = trace.named("part"), trace.named("GET streaming/")
    assert part.context.trace_id == root.context.trace_id
    assert part.end_time <= root.end_time


@pytest.mark.skipif(django.VERSION < (5, 0), reason="Django 4.2 does not hear of it")
def test_a_client_that_leaves_is_no_error():
    """DataDog/dd-trace-py 17728: CancelledError made each span of a stream an error."""
    from django.core.handlers.asgi import ASGIHandler

    scope = {"type": "http", "method": "GET", "path": "/endless/", "headers": [], "query_string": b"", "asgi": {}}

    async def visit():
        sent, messages = asyncio.Event(), [{"type": "http.request", "body": b""}]

        async def receive():
            if messages:
                return messages.pop()
            await sent.wait()
            return {"type": "http.disconnect"}

        async def send(message):
            if message.get("body"):
                sent.set()

        handler = ASGIHandler()
        handler.load_middleware(is_async=True)
        await asyncio.wait_for(handler(scope, receive, send), DEADLINE)

    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[], ALLOWED_HOSTS=["*"]), tracing() as trace:
        asyncio.run(visit())
    assert {span.status.status_code for span in trace.spans if span.name.startswith("view")} == {StatusCode.UNSET}


def test_an_error_in_a_middleware_is_told(site):
    """DataDog/dd-trace-py 278."""
    response, trace = site("/plain/", f"{__name__}.blasting")
    (root,) = [span for span in trace.spans if span.parent is None]
    assert (response.status_code, root.status.status_code) == (500, StatusCode.ERROR)
    assert [event.attributes["exception.type"] for event in root.events if event.name == "exception"] == [
        "ZeroDivisionError"
    ]


def test_a_user_nobody_asked_for_is_not_loaded(site):
    """scoutapp/scout_apm_python 545: `Vary: Cookie` on every page."""
    response, trace = site("/plain/", *AUTH)
    assert "Vary" not in response
    assert not [span.name for span in trace.spans if span.name.startswith(("auth ", "session ", "SELECT"))]


def test_what_is_cached_is_not_asked_whether_it_is_true():
    """DataDog/dd-trace-py 5460."""
    value = NoTruth()
    with override_settings(CACHES=MEMORY), tracing() as trace, otel.get_tracer("app").start_as_current_span("root"):
        caches["default"].set(1, value)
        assert type(caches["default"].get(1, value)) is NoTruth
        assert type(caches["default"].get_many([1])[1]) is NoTruth
        assert caches["default"].get_or_set(2, value) is not None
    assert trace.named("cache set default")


@pytest.fixture(scope="module")
def app():
    app = make_app(queue=f"clew-{uuid.uuid4().hex[:12]}")

    class OwnHeaders(Task):
        """Takes what `apply_async` is given apart, and hands it on."""

        def apply_async(self, args=None, kwargs=None, task_id=None, producer=None, **options):
            headers = {**(options.pop("headers", None) or {}), "user": "ada"}
            return super().apply_async(args, kwargs, task_id, producer, headers=headers, **options)

    @app.task(name="with headers", base=OwnHeaders, bind=True, max_retries=1, shared=False)
    def with_headers(self):
        app.seen.append(self.request.headers["user"])
        if not self.request.retries:
            raise self.retry(countdown=0)

    @app.task(name="replaced", bind=True, shared=False)
    def replaced(self):
        raise self.replace(app.tasks["add"].si(1, 2))

    @app.task(name="tagging", shared=False)
    def tagging():
        app.tasks["add"].delay(1, 2)
        otel.get_current_span().set_attribute("app.tag", "after a publish")

    @app.task(name="no arguments", shared=False)
    def no_arguments():
        return None

    app.seen = []
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=DEADLINE):
        yield app


def runs_of(trace, name, count=1):
    until(lambda: len([span for span in trace.spans if span.name == f"run/{name}"]) >= count)
    return [span for span in trace.spans if span.name == f"run/{name}"]


def test_a_task_that_replaces_itself(trace, app, caplog):
    """DataDog/dd-trace-py 17089: a warning each time."""
    app.tasks["replaced"].delay()
    (replaced,), (run,) = runs_of(trace, "replaced"), runs_of(trace, "add")
    assert replaced.attributes["celery.outcome"] == "replaced"
    assert run.context.trace_id == replaced.context.trace_id
    assert not [record for record in caplog.records if record.name.startswith(("clew", "opentelemetry"))]


def test_a_receiver_of_task_postrun_can_still_tag_the_run(trace, app):
    """DataDog/dd-trace-py 11479: in a chain the span had ended."""
    tagged = []

    def tag(task=None, **_):
        span = otel.get_current_span()
        tagged.append(span.is_recording())
        span.set_attribute("app.tag", "late")

    signals.task_postrun.connect(tag)
    try:
        chain(app.tasks["add"].s(1, 2), app.tasks["add"].s(3), app=app).delay()
        runs = runs_of(trace, "add", 2)
    finally:
        signals.task_postrun.disconnect(tag)
    assert tagged == [True, True]
    assert [span.attributes.get("app.tag") for span in runs] == ["late", "late"]


def test_the_run_is_current_again_after_a_publish(trace, app):
    """DataDog/dd-trace-py 11624."""
    app.tasks["tagging"].delay()
    (run,) = runs_of(trace, "tagging")
    assert run.attributes["app.tag"] == "after a publish"
    runs_of(trace, "add")


def test_a_task_that_is_called_is_only_called(trace, app):
    """DataDog/dd-trace-py 495."""
    assert app.tasks["add"](1, 2) == app.tasks["add"](1, right=2) == 3
    assert trace.spans == ()


def test_a_task_that_is_sent_by_name_is_in_the_trace(trace, app):
    """DataDog/dd-trace-py 16662, opentelemetry-python-contrib 609."""
    with otel.get_tracer("app").start_as_current_span("root") as root:
        app.send_task("add", (1, 2))
    (run,) = runs_of(trace, "add")
    assert run.context.trace_id == root.get_span_context().trace_id
    assert run.parent.span_id == trace.named("apply_async/add").context.span_id


@pytest.mark.parametrize("args", [(), (None,), (None, None), (None, {}), ((), {})])
def test_a_task_that_is_sent_without_arguments(trace, app, args):
    """getsentry/sentry-python 2554."""
    app.tasks["no arguments"].apply_async(*args)
    (run,) = runs_of(trace, "no arguments")
    assert run.attributes["celery.outcome"] == "succeeded"


def test_headers_of_the_application_s_own_stay_through_a_retry(trace, app):
    """celery/celery 9174: with a tracer that changes the headers."""
    app.tasks["with headers"].delay()
    assert len(runs_of(trace, "with headers", 2)) == 2
    assert app.seen == ["ada", "ada"]
