"""How many series clew's own metrics have on a site of a hundred routes: one a route, whatever is asked for there."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path

from clew.testing import tracing
from tests.metered import reader  # noqa: F401 - a fixture

pytestmark = pytest.mark.django_db
ROUTES = 100


def page(request, number):
    for each in range(number, number + 6):
        Group.objects.filter(pk=each).first()
    return HttpResponse(status=200 if number % 2 else 404)


urlpatterns = [path(f"control/page{each}/<int:number>/", page) for each in range(ROUTES)]


def test_series_are_as_many_as_routes(reader):  # noqa: F811
    with tracing(), override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        for route in range(ROUTES):
            for number in (route, 10 * route + 1):
                Client().generic("GET" if number % 2 else "POST", f"/control/page{route}/{number}/")
    points = {
        metric.name: list(metric.data.data_points)
        for resource in reader.get_metrics_data().resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        if metric.name.startswith("clew.")  # contrib's are one a route, method and status
    }
    assert {name: len(found) for name, found in points.items()} == {"clew.db.duration": ROUTES, "clew.findings": ROUTES}
    assert {point.attributes["http.route"] for point in points["clew.findings"]} == {
        f"control/page{route}/<int:number>/" for route in range(ROUTES)
    }
    assert {tuple(sorted(point.attributes)) for found in points.values() for point in found} == {
        ("http.route",),
        ("clew.finding.type", "http.route"),
    }
