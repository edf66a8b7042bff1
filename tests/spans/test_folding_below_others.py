"""Below spans that are not clew's its own fold as they do below clew's, and end with them."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group
from django.db import transaction
from django.http import HttpResponse
from django.template import engines
from django.test import Client, override_settings
from django.urls import path
from opentelemetry import trace as api

from clew.testing import tracing

pytestmark = pytest.mark.django_db(transaction=True)
seen = []


def own(name="own"):
    return api.get_tracer("site").start_as_current_span(name)


def queries(request):
    with own():
        for number in range(10):
            list(Group.objects.filter(pk=number))
    return HttpResponse()


def templates(request):
    with own():
        page = engines["django"].from_string("x")
        for _ in range(10):
            page.render({})
    seen.extend(trace_of_request[-1].spans)
    return HttpResponse()


def transactions(request):
    with own():
        for number in range(5):
            with transaction.atomic():
                Group.objects.create(name=str(number))
    return HttpResponse()


def growing(request):
    for number in range(10):
        with own():
            list(Group.objects.filter(pk=number))
    return HttpResponse()


urlpatterns = [path(f"{each.__name__}/", each) for each in (queries, templates, transactions, growing)]
trace_of_request = []


def served(url):
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]), tracing() as trace:
        trace_of_request.append(trace)
        assert Client().get(f"/{url}/").status_code == 200
    return trace


def below(trace, name="own"):
    parents = {span.context.span_id for span in trace.spans if span.name == name}
    spans = [span for span in trace.spans if span.parent and span.parent.span_id in parents]
    return [(span.name, span.attributes.get("clew.folded.count", 1)) for span in spans]


def test_queries():
    assert below(served("queries")) == [("SELECT auth_group", 10)]


def test_templates():
    seen.clear()
    assert below(served("templates")) == [("template <string>", 10)]
    # Sent with the span it is below, not at the end of the request.
    assert [span.name for span in seen] == ["template <string>", "own"]


def test_transactions():
    trace = served("transactions")
    assert below(trace) == [("transaction default", 5)]
    assert below(trace, "transaction default") == [("INSERT auth_group", 5)]


def test_what_may_still_grow_waits_for_the_end():
    assert below(served("growing")) == [("SELECT auth_group", 1)] * 10


def test_a_root_that_is_not_clew_s():
    with tracing() as trace, own("script"):
        for number in range(10):
            list(Group.objects.filter(pk=number))
    assert below(trace, "script") == [("SELECT auth_group", 10)]
