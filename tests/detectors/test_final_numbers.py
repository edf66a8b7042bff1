"""A finding says its final number, wherever the span of its query hangs."""

from __future__ import annotations

import pytest
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path
from opentelemetry import trace as otel

from clew.testing import tracing
from tests.detectors.corpus.models import Post
from tests.detectors.corpus.rows import make

pytestmark = pytest.mark.django_db
COUNT = 30


def in_a_span(request):
    with otel.get_tracer("shop").start_as_current_span("work"):
        return each(request)


def in_a_span_of_a_loop(request):
    for post in Post.objects.all():
        with otel.get_tracer("shop").start_as_current_span("work"):
            assert post.author.name
    return HttpResponse()


def each(request):
    for post in Post.objects.all():
        assert post.author.name
    return HttpResponse()


urlpatterns = [path("own/", in_a_span), path("loop/", in_a_span_of_a_loop), path("each/", each)]


@pytest.mark.parametrize("url", ["/own/", "/loop/", "/each/"])
def test_the_number_is_the_final_one(url):
    make(COUNT)
    with tracing() as trace, override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        assert Client().get(url).status_code == 200
    events = [event for span in trace.spans for event in span.events if event.name == "clew.finding.n_plus_one"]
    (finding,) = [each.attributes for each in events]
    assert finding["clew.finding.query_count"] == COUNT
    assert f"{COUNT} queries" in finding["clew.finding.about"]
