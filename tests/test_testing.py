"""The `trace` fixture and `tracing()`: what a site's tests get, whatever the site itself has set up."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
import time

import pytest
from django.contrib.auth.models import Group
from django.core.handlers.wsgi import WSGIHandler
from django.test import Client, RequestFactory, override_settings
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import clew
from clew.bootstrap import active
from clew.testing import tracing
from tests.detectors.served import get


def ask_twice():
    for name in ("a", "b"):
        list(Group.objects.filter(name=name))


def slow(get_response):
    def middleware(request):
        time.sleep(0.02)
        return get_response(request)

    return middleware


@pytest.fixture
def sites_own():
    """What a site's settings.py has set up, and where its spans go."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider(sampler=ALWAYS_OFF, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(exporter))
    handle = clew.setup_tracing(tracer_provider=provider, n_plus_one_threshold=50)
    yield handle, exporter
    handle.shutdown()
    provider.shutdown()


@pytest.mark.django_db
def test_a_site_that_is_set_up_is_tested_with_the_tests_settings_and_exports_nothing(sites_own):
    handle, exporter = sites_own
    with tracing(n_plus_one_threshold=2) as trace:
        get(ask_twice)
        assert active() is handle
    handle.provider.force_flush()
    assert [each.type for each in trace.findings] == ["n_plus_one"]
    assert trace.named("GET books/").attributes["http.response.status_code"] == 200
    assert exporter.get_finished_spans() == ()


@pytest.mark.django_db
def test_a_site_gets_its_own_settings_sampler_and_exporter_back(sites_own):
    handle, exporter = sites_own
    before = handle.provider._active_span_processor._span_processors
    with tracing(detail="all"):
        pass
    assert handle.is_active
    assert handle.resolved.settings.n_plus_one_threshold == 50
    assert handle.provider.sampler is ALWAYS_OFF
    assert set(handle.provider._active_span_processor._span_processors) == set(before)
    handle.provider.sampler = TracerProvider().sampler
    with handle.provider.get_tracer("site").start_as_current_span("work"):
        pass
    handle.provider.force_flush()
    assert [span.name for span in exporter.get_finished_spans()] == ["work"]


def test_a_site_that_is_switched_off_is_traced_all_the_same():
    clew.setup_tracing(enabled=False)
    with tracing() as trace:
        get(lambda: None)
    assert trace.named("GET books/")
    assert active() is None


def test_a_tree_does_not_depend_on_how_long_something_took():
    with tracing() as trace, override_settings(MIDDLEWARE=[f"{__name__}.slow"], ROOT_URLCONF="tests.site.urls"):
        Client().get("/plain/")
    assert "middleware" not in trace.tree()
    assert "middleware slow request" not in trace.tree()
    with (
        tracing(middleware_threshold_us=1000) as trace,
        override_settings(MIDDLEWARE=[f"{__name__}.slow"], ROOT_URLCONF="tests.site.urls"),
    ):
        Client().get("/plain/")
    assert "middleware slow request" in trace.tree()


def test_a_handler_that_lives_longer_than_a_test_is_traced_in_each():
    with override_settings(MIDDLEWARE=[f"{__name__}.slow"], ROOT_URLCONF="tests.site.urls"):
        handler = WSGIHandler()
        trees = []
        for _ in range(2):
            with tracing(detail="all") as trace:
                handler.get_response(RequestFactory().get("/plain/"))
            trees.append(trace.tree())
    assert trees[0] == trees[1]
    assert trees[0].count("middleware slow") == 2


SITE = {
    "shop_settings.py": """
        import clew
        clew.setup_tracing()
        SECRET_KEY = "x"
        ROOT_URLCONF = "shop_urls"
        DATABASES = {}
        """,
    "shop_urls.py": """
        from django.http import HttpResponse
        from django.urls import path
        urlpatterns = [path("plain/", lambda request: HttpResponse("ok"))]
        """,
    "test_shop.py": """
        from django.test import Client
        from clew.engine import flush

        def test_it(trace):
            Client().get("/plain/")
            assert trace.tree().startswith("SERVER GET plain/")

        def test_nothing_is_exported():
            assert flush.queues == ()
        """,
}


def test_a_site_whose_settings_set_tracing_up_exports_nothing_from_its_tests(tmp_path):
    for name, text in SITE.items():
        (tmp_path / name).write_text(textwrap.dedent(text))
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--ds=shop_settings", "-o", "pythonpath=."],
        cwd=tmp_path,
        env={**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert "2 passed" in done.stdout, done.stdout + done.stderr
    assert "127.0.0.1:9" not in done.stdout + done.stderr
