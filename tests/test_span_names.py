"""Names of spans tell what they are within the 40 characters a viewer shows; `span_names=full` keeps the whole ones."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.contrib.auth.models import Group, Permission
from django.db import connection
from django.http import HttpResponse
from django.shortcuts import render
from django.test import Client, override_settings
from django.urls import path
from django.views import View
from opentelemetry import trace as otel
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from clew import span_names
from clew.export.encoding import encode_spans_for_http
from clew.seams import seams
from clew.testing import tracing

pytestmark = pytest.mark.django_db
SHOWN = 40


@pytest.fixture(autouse=True)
def short():
    yield
    span_names.configure("short")


class OrderDetail(View):
    def get(self, request):
        list(Permission.objects.select_related("content_type").filter(group__name="staff"))
        for number in range(3):
            Group.objects.filter(pk=number).first()
        return render(request, "django/forms/widgets/input.html", {"widget": {"type": "text", "attrs": {}}})


class Driver(View):
    """A query that an instrumentation of the driver makes the span of."""

    def get(self, request):
        tracer = otel.get_tracer("opentelemetry.instrumentation.dbapi")

        def driver(execute, sql, params, many, context):
            with tracer.start_as_current_span("UPDATE", kind=otel.SpanKind.CLIENT):
                return execute(sql, params, many, context)

        with connection.execute_wrapper(driver):
            Group.objects.update(name="staff")
        return HttpResponse()


urlpatterns = [path("order/", OrderDetail.as_view()), path("driver/", Driver.as_view())]
TEMPLATES = [{"BACKEND": "django.template.backends.django.DjangoTemplates", "DIRS": [], "APP_DIRS": False}]


def names(url, **settings):
    import django

    found = [{**TEMPLATES[0], "DIRS": [f"{django.__path__[0]}/forms/templates"]}]
    with (
        override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[], TEMPLATES=found),
        tracing(**settings) as trace,
    ):
        assert Client().get(url).status_code == 200
    return [span.name for span in trace.spans], trace


def test_the_telling_end_is_within_what_is_shown():
    found, trace = names("/order/")
    assert set(found) == {
        "SELECT auth_permission",
        "template forms/widgets/attrs.html",
        "template forms/widgets/input.html",
        "SELECT auth_group",
        "view test_span_names.OrderDetail",
        "GET order/",
    }
    assert all(len(name) <= SHOWN for name in found)
    assert trace.named("view test_span_names.OrderDetail").attributes["code.function.name"] == (
        "tests.test_span_names.OrderDetail.get"
    )
    assert (
        trace.named("SELECT auth_permission").attributes["db.query.summary"].startswith("SELECT auth_permission auth")
    )
    template = trace.named("template forms/widgets/input.html")
    assert template.attributes["django.template.name"] == "django/forms/widgets/input.html"


@pytest.mark.parametrize(("form", "name"), [("short", "SELECT auth_group (folded)"), ("full", "SELECT auth_group")])
def test_one_that_stands_for_several_says_so_where_it_is_exported(form, name):
    _, trace = names("/order/", span_names=form)
    span_names.configure(form)
    data = encode_spans_for_http(trace.spans).SerializeToString()
    request = ExportTraceServiceRequest.FromString(data)
    found = [each.name for group in request.resource_spans for scope in group.scope_spans for each in scope.spans]
    assert found.count(name) == 1
    assert sum("(folded)" in each for each in found) == (form == "short")


def test_the_whole_names_can_be_kept():
    found, _ = names("/order/", span_names="full")
    assert "view tests.test_span_names.OrderDetail" in found
    assert "template django/forms/widgets/input.html" in found
    assert "SELECT auth_group" in found
    assert any(name.startswith("SELECT auth_permission auth_group_permissions") for name in found)


@pytest.mark.parametrize(("form", "name"), [("short", "UPDATE auth_group"), ("full", "UPDATE")])
def test_a_drivers_span_gets_its_table(form, name):
    assert name in names("/driver/", span_names=form)[0]


@pytest.mark.parametrize(
    ("command", "queue", "name"),
    [
        ("LPUSH", "mail", "LPUSH mail"),
        ("LLEN LLEN LLEN LLEN", "mail", "LLEN mail"),
        ("MULTI LPUSH EXEC", "", "MULTI LPUSH EXEC"),
    ],
)
def test_a_command_below_a_publish_gets_its_queue(command, queue, name):
    assert span_names.of_command(command, queue) == name


def test_code_without_a_module_keeps_its_name():
    assert span_names.of_code("builtins.str", "builtins") == "builtins.str"
    assert span_names.of_code("__main__.view", "__main__") == "__main__.view"
    assert span_names.of_code("lambda", None) == "lambda"
    assert span_names.of_code("a.b.views.Order.Inner", "a.b.views") == "views.Order.Inner"


def test_every_form_of_name_is_in_the_table():
    table = (Path(__file__).parents[1] / "docs/names.md").read_text()
    kinds = {re.split("[ /]", doc.name)[0] for seam in seams() for doc in seam.spans}
    assert [kind for kind in sorted(kinds) if kind not in table] == []


def test_the_table_s_names_are_cut_where_it_says():
    rows = [line.split(" | ") for line in (Path(__file__).parents[1] / "docs/names.md").read_text().splitlines()]
    for _, old, cut, new, cut_new, _ in (row for row in rows if len(row) == 6 and "first 40" not in row[2]):
        for whole, shown in ((old, cut), (new, cut_new)):
            if shown.startswith("`"):
                assert whole.strip("`")[:SHOWN] == shown.strip("`")
            elif shown == "all of it":
                assert len(whole.strip("`")) <= SHOWN
