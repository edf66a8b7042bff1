"""Routes in the form in which one reads them."""

from __future__ import annotations

import pytest
from django.test import Client

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


@pytest.mark.parametrize(("is_readable", "route"), [(True, "regex/<pk>/"), (False, r"^regex/(?P<pk>\d+)/$")])
def test_name_and_route_are_the_same_form(is_readable, route):
    with tracing(readable_routes=is_readable) as trace:
        assert Client().get("/regex/7/").status_code == 200
    assert trace.named(f"GET {route}").attributes["http.route"] == route
