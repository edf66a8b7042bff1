"""Routes in the form in which one reads them."""

from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path

from clew.seams.django.request.route import readable
from clew.testing import tracing

ROUTES = [
    ("", ""),
    ("users/<int:pk>/", "users/<int:pk>/"),
    ("c++/a.b/", "c++/a.b/"),
    (r"^regex/(?P<pk>\d+)/$", "regex/<pk>/"),
    (
        r"^control/event/(?P<organizer>[^/]+)/(?P<event>[^/]+)/orders/(?P<code>[0-9A-Z]{5,7})/$",
        "control/event/<organizer>/<event>/orders/<code>/",
    ),
    # include() of include(), of path() and re_path()
    (r"^api/^v1/(?P<pk>[^/.]+)/$", "api/v1/<pk>/"),
    (r"inner/<slug:name>/^(?P<year>\d{4})\.(?P<format>json|xml)$", "inner/<slug:name>/<year>.<format>"),
    # REST framework's routers
    (r"^users/(?P<pk>[^/.]+)\.(?P<format>[a-z0-9]+)/?$", "users/<pk>.<format>/"),
    # unnamed, nested, optional, alternatives, looking around
    (r"^([0-9]+)/([a-z]+)/$", "<var1>/<var2>/"),
    (r"^articles/(?:page-(?P<page>\d+)/)?$", "articles/page-<page>/"),
    (r"^(?P<path>(?:a(?:b)|[()\]]+)*)/x/$", "<path>/x/"),
    (r"^(?:archive|old)/\d+/$", "archive|old/<var1>/"),
    (r"\A(?i)(?!admin)blog\.html\Z", "blog.html"),
    (r"^file[.]txt$", "file.txt"),
    (r"^all/.*$", "all/<var1>"),
    (r"^say\(x\)$", "say(x)"),
    # not to be read
    (r"^broken/(?P<x>[a-z", r"^broken/(?P<x>[a-z"),
    ("^broken\\", "^broken\\"),
]


@pytest.mark.parametrize(("route", "expected"), ROUTES)
def test_reading_form(route, expected):
    with tracing():
        assert readable(route) == expected


def pinged(request, **arguments):
    return HttpResponse("ok")


class Pings:
    urlpatterns = [
        path("ping/<slug:ping_key>/<slug:slug>", pinged),
        path("invited/<code>/", pinged),
        path("project/<slug:project_key>/", pinged),
        path("item/<uuid:code>/", pinged),
    ]


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/ping/Zx81pingKey99ab77cdQ2/nightly-2", "/ping/[redacted]/nightly-2"),
        ("/invited/8f14e45fceea167a5a36dedd/", "/invited/[redacted]/"),
        ("/project/SHOP/", "/project/SHOP/"),
        ("/item/3c7d82f3-8e56-46c1-a336-8bed603842f6/", "/item/3c7d82f3-8e56-46c1-a336-8bed603842f6/"),
    ],
)
def test_keys_that_look_like_chance_are_taken_out_of_the_path(url, expected):
    with override_settings(ROOT_URLCONF=Pings), tracing() as trace:
        assert Client().get(url).status_code == 200
    (root,) = [span for span in trace.spans if span.name.startswith("GET")]
    assert root.attributes["url.path"] == expected


@pytest.mark.parametrize(("is_readable", "route"), [(True, "regex/<pk>/"), (False, r"^regex/(?P<pk>\d+)/$")])
def test_name_and_route_are_the_same_form(is_readable, route):
    with tracing(readable_routes=is_readable) as trace:
        assert Client().get("/regex/7/").status_code == 200
    assert trace.named(f"GET {route}").attributes["http.route"] == route
