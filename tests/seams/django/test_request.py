"""The SERVER span, as a user sees it."""

from __future__ import annotations

import asyncio
import gc

import pytest
from django.core.wsgi import get_wsgi_application
from django.http import HttpResponse, HttpResponseServerError
from django.test import AsyncClient, Client, RequestFactory, override_settings
from django.urls import path
from opentelemetry import baggage
from opentelemetry import trace as otel
from opentelemetry.trace import StatusCode

# The handler closes what connections other tests have opened.
pytestmark = pytest.mark.django_db

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def client():
    return Client(raise_request_exception=False)


def only_server(trace):
    return next(span for span in trace.spans if span.kind is otel.SpanKind.SERVER)


def test_tree_of_a_request(trace, client):
    client.get("/plain/")
    assert only_server(trace).name == "GET plain/"
    view = trace.named("view views.plain")
    assert view.parent.span_id == only_server(trace).context.span_id


def test_attributes_by_the_stable_conventions(trace, client):
    client.get("/inner/page/x/?q=1&token=abc", headers={"user-agent": "tests"})
    found = dict(only_server(trace).attributes)
    found.pop("django.middleware.timings", None)
    assert found == {
        "http.request.method": "GET",
        "http.response.status_code": 200,
        "http.route": "inner/page/<slug:name>/",
        "url.path": "/inner/page/x/",
        "url.query": "q=1&token=[redacted]",
        "url.scheme": "http",
        "server.address": "testserver",
        "server.port": 80,
        "client.address": "127.0.0.1",
        "user_agent.original": "tests",
        "network.protocol.version": "1.1",
        "django.view.reached": True,
        "django.url.name": "page",
        "django.url.namespace": "inner",
    }


def test_remote_parent_is_taken_and_its_baggage(trace, client):
    response = client.get("/baggage/", headers={"traceparent": TRACEPARENT, "baggage": "tenant=acme"})
    span = only_server(trace)
    assert (span.context.trace_id, span.parent.span_id) == (
        0x0AF7651916CD43DD8448EB211C80319C,
        0xB7AD6B7169203331,
    )
    assert (response.content, baggage.get_baggage("tenant")) == (b"acme", None)


def test_request_below_a_current_span_is_internal(trace, client):
    with otel.get_tracer("tests").start_as_current_span("outer"):
        client.get("/plain/")
    assert trace.named("GET plain/").kind is otel.SpanKind.INTERNAL


@pytest.mark.parametrize(
    ("path", "status", "name"),
    [
        ("/", 200, "GET home"),
        ("/missing/", 404, "GET missing/"),
        ("/forbidden/", 403, "GET forbidden/"),
        ("/regex/7/", 200, "GET regex/<pk>/"),
        ("/nowhere/", 404, "GET"),
    ],
)
def test_4xx_is_unset_and_the_name_is_the_route(trace, client, path, status, name):
    assert client.get(path).status_code == status
    span = only_server(trace)
    assert (span.name, span.status.status_code) == (name, StatusCode.UNSET)


def test_unknown_method_is_other(trace, client):
    client.generic("BREW", "/plain/")
    span = only_server(trace)
    assert span.name == "HTTP plain/"
    assert (span.attributes["http.request.method"], span.attributes["http.request.method_original"]) == (
        "_OTHER",
        "BREW",
    )


def test_exception_of_a_view_is_an_error_with_its_event_redacted(trace, client):
    client.get("/broken/")
    span = only_server(trace)
    assert span.status.status_code is StatusCode.ERROR
    assert span.attributes["error.type"] == "ValueError"
    (event,) = span.events
    assert event.attributes["exception.message"] == "the view is broken, password=[redacted]"
    assert "hunter2" not in "".join(str(value) for each in trace.spans for value in _everything(each))


def _everything(span):
    yield from span.attributes.values()
    yield span.status.description
    for event in span.events:
        yield from (v for k, v in event.attributes.items() if k != "exception.stacktrace")


def test_the_same_exception_reaches_the_caller(trace):
    with pytest.raises(ValueError, match="the view is broken") as raised:
        Client().get("/broken/")
    assert str(raised.value) == "the view is broken, password=hunter2"


def test_stream_ends_the_span_after_its_last_byte(trace, client):
    response = client.get("/stream/")
    assert not [span for span in trace.spans if span.name == "GET stream/"]
    list(response.streaming_content)
    server = trace.named("GET stream/")
    assert trace.named("part 2").parent.span_id == server.context.span_id


def test_stream_that_raises_ends_the_span_as_an_error(trace, client):
    response = client.get("/stream-broken/")
    with pytest.raises(ValueError, match="half way"):
        list(response.streaming_content)
    assert trace.named("GET stream-broken/").status.status_code is StatusCode.ERROR


def test_stream_that_nobody_reads_ends_at_its_close(trace, client):
    client.get("/stream/").close()
    assert trace.named("GET stream/").attributes["http.response.status_code"] == 200


def test_stream_that_is_dropped_ends(trace, client):
    response = client.get("/stream/")
    response._resource_closers.clear()
    response = None
    gc.collect()
    assert trace.named("GET stream/")


def test_nothing_stays_current(trace, client):
    for page in ("/plain/", "/broken/", "/missing/", "/stream/"):
        client.get(page).close()
        assert otel.get_current_span() is otel.INVALID_SPAN


def test_hooks_of_contrib_are_called(trace, client):
    from opentelemetry.instrumentation.django import DjangoInstrumentor

    def request_hook(span, request):
        span.set_attribute("app.path", request.path)

    def response_hook(span, request, response):
        span.set_attribute("app.status", response.status_code)
        raise RuntimeError("a hook may raise")

    DjangoInstrumentor().instrument(request_hook=request_hook, response_hook=response_hook)
    try:
        client.get("/plain/")
    finally:
        DjangoInstrumentor().instrument(request_hook=None, response_hook=None)
    span = only_server(trace)
    assert (span.attributes["app.path"], span.attributes["app.status"]) == ("/plain/", 200)


def test_excluded_urls_are_not_traced(trace, client):
    from opentelemetry.instrumentation.django import DjangoInstrumentor

    DjangoInstrumentor().instrument(excluded_urls="plain")
    try:
        client.get("/plain/")
        client.get("/class/")
    finally:
        DjangoInstrumentor().instrument(excluded_urls="")
    assert [span.name for span in trace.spans if span.kind is otel.SpanKind.SERVER] == ["GET class/"]
    assert not [span for span in trace.spans if "plain" in span.name]


def test_metrics_of_contrib_are_kept(trace, client):
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import InMemoryMetricReader

    reader = InMemoryMetricReader()
    meters = MeterProvider([reader])
    DjangoInstrumentor().instrument(meter_provider=meters)
    try:
        client.get("/inner/page/x/")
        client.get("/broken/")
        metrics = reader.get_metrics_data().resource_metrics[0].scope_metrics[0].metrics
    finally:
        DjangoInstrumentor().instrument(meter_provider=None, request_hook=None)
        meters.shutdown()
    points = {metric.name: list(metric.data.data_points) for metric in metrics}
    durations = points["http.server.request.duration"]
    assert {point.attributes["http.route"]: point.attributes["http.response.status_code"] for point in durations} == {
        "inner/page/<slug:name>/": 200,
        "broken/": 500,
    }
    assert {point.value for point in points["http.server.active_requests"]} == {0}


def test_the_error_of_a_page_that_was_to_say_404(trace, client):
    def broken(request, exception):
        raise LookupError("no template")

    with override_settings(ROOT_URLCONF=type("urls", (), {"urlpatterns": [], "handler404": staticmethod(broken)})):
        assert client.get("/nowhere/").status_code == 500
    found = only_server(trace)
    assert found.attributes["error.type"] == "LookupError"
    assert [event.attributes["exception.message"] for event in found.events] == ["no template"]


def test_an_error_is_told_whatever_status_the_page_of_errors_has(trace, client):
    def broken(request):
        raise LookupError("broken")

    def handler500(request):
        return HttpResponse("sorry")

    urls = {"urlpatterns": [path("broken/", broken)], "handler500": staticmethod(handler500)}
    with override_settings(ROOT_URLCONF=type("urls", (), urls)):
        assert client.get("/broken/").status_code == 200
    found = only_server(trace)
    assert found.attributes["http.response.status_code"] == 200
    assert (found.status.status_code, found.attributes["error.type"]) == (StatusCode.ERROR, "LookupError")
    assert [event.attributes["exception.message"] for event in found.events] == ["broken"]


def test_a_page_that_says_404_with_500(trace, client):
    def handler404(request, exception):
        return HttpResponseServerError()

    with override_settings(ROOT_URLCONF=type("urls", (), {"urlpatterns": [], "handler404": staticmethod(handler404)})):
        client.get("/nowhere/")
    assert only_server(trace).attributes["error.type"] == "django.urls.exceptions.Resolver404"


def test_unsampled_request_has_no_span_at_all(trace, client):
    client.get("/plain/", headers={"traceparent": TRACEPARENT[:-2] + "00"})
    assert trace.spans == ()


def test_suppressed_request_is_not_traced(trace, client):
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    with suppress_instrumentation():
        client.get("/plain/")
    assert trace.spans == ()


@pytest.mark.parametrize("host", ["evil.example", "[::1]:99", "\u20ac", "a b:c:d", ""])
def test_odd_hosts_do_no_harm(trace, client, host):
    response = client.get("/plain/", headers={"host": host})
    assert response.status_code in (200, 400)
    assert only_server(trace).attributes["http.response.status_code"] == response.status_code


@pytest.mark.parametrize("path", ["/\u20ac/".encode(), b"/\xff/", b"/a b/", b"/%2F/", b"/\xed\xa0\x80/"])
def test_odd_paths_do_no_harm(trace, path):
    def start_response(status, headers):
        assert status.startswith("404")

    environ = RequestFactory()._base_environ(PATH_INFO=path.decode("latin-1"))
    get_wsgi_application()(environ, start_response).close()
    assert only_server(trace).attributes["url.path"].isascii()


@pytest.mark.parametrize(
    ("path", "told"),
    [
        ("/login;jsessionid=cAnary7x", "/login%3Bjsessionid%3D[redacted]"),
        ("/x/token=cAnary7x/y", "/x/token%3D[redacted]"),
        ("/a:b@c/", "/a:b@c/"),
    ],
)
def test_a_path_that_names_a_secret_is_told_without_it(trace, client, path, told):
    client.get(path, headers={"User-Agent": "probe token=cAnary7x"})
    attributes = only_server(trace).attributes
    assert attributes["url.path"] == told
    assert attributes["user_agent.original"] == "probe token=[redacted]"


def test_twenty_concurrent_async_requests_keep_their_own_trees(trace):
    async def all_of_them():
        client = AsyncClient()
        await asyncio.gather(*(client.get("/aplain/", headers={"x-number": str(n)}) for n in range(20)))

    with override_settings(MIDDLEWARE=["tests.site.middleware.function_middleware"]):
        asyncio.run(all_of_them())
    servers = [span for span in trace.spans if span.kind is otel.SpanKind.SERVER]
    views = [span for span in trace.spans if span.name.startswith("view")]
    assert len(servers) == len(views) == len({span.context.trace_id for span in servers}) == 20
    assert {span.context.span_id for span in servers} == {span.parent.span_id for span in views}


def test_async_stream_ends_with_its_body(trace):
    async def read():
        response = await AsyncClient().get("/astream/")
        return [part async for part in response.streaming_content]

    assert asyncio.run(read()) == [b"part 0\n", b"part 1\n", b"part 2\n"]
    server = trace.named("GET astream/")
    assert {span.parent.span_id for span in trace.spans if span.name.startswith("part")} == {server.context.span_id}
