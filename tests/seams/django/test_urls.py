"""URL resolving: what matched is on the request's span; a span of its own only where it takes long."""

from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.test import Client
from django.urls import include, path

from clew.testing import tracing

NAMES = ("django.url.name", "django.url.namespace")


def page(request, **_):
    return HttpResponse()


shop = ([path("<slug:code>/", page, name="order")], "shop")
urlpatterns = [path("orders/", include(shop)), path("", page)]
other = type("other", (), {"urlpatterns": [path("orders/<slug:which>/", page, name="elsewhere")]})


def to_the_others(get_response):
    """A middleware that switches the request's URLs."""

    def middleware(request):
        request.urlconf = other
        return get_response(request)

    return middleware


def visit(where, **settings):
    with tracing(**settings) as trace:
        status = Client().get(where).status_code
    return status, trace


@pytest.mark.urls(__name__)
def test_what_matched_is_on_the_request():
    _, trace = visit("/orders/blue/")
    found = trace.named("GET orders/<slug:code>/").attributes
    assert [found[name] for name in NAMES] == ["order", "shop"]
    _, trace = visit("/")
    assert [name for name in NAMES if name in trace.named("GET /").attributes] == []


@pytest.mark.urls(__name__)
def test_a_span_only_where_it_takes_long():
    _, trace = visit("/orders/blue/", resolve_threshold_ms=1000)
    assert "resolve" not in [span.name for span in trace.spans]
    _, trace = visit("/orders/blue/", resolve_threshold_ms=0)
    assert trace.named("resolve").attributes["http.route"] == "orders/<slug:code>/"


@pytest.mark.urls(__name__)
def test_nothing_matched():
    status, trace = visit("/nowhere/", resolve_threshold_ms=0)
    assert status == 404
    assert "http.route" not in trace.named("resolve").attributes
    (root,) = [span for span in trace.spans if span.parent is None]
    assert [name for name in NAMES if name in root.attributes] == []


@pytest.mark.urls(__name__)
def test_the_urls_a_middleware_has_chosen(settings):
    settings.MIDDLEWARE = [f"{__name__}.to_the_others"]
    _, trace = visit("/orders/blue/")
    assert trace.named("GET orders/<slug:which>/").attributes["django.url.name"] == "elsewhere"
