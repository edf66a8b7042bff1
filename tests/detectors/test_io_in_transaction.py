"""The application waits for another service while a transaction is open."""

from __future__ import annotations

import time
import uuid

import pytest
from django.contrib.auth.models import Group
from django.core.cache import caches
from django.core.management import call_command
from django.db import transaction
from opentelemetry import trace as otel
from opentelemetry.trace import SpanKind

from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.detectors.shared import found, said_on
from tests.seams.django.test_transaction import line_of, postgres, served  # noqa: F401

pytestmark = [pytest.mark.urls("tests.seams.django.test_transaction"), pytest.mark.django_db(transaction=True)]
TYPE = "io_in_transaction"


HTTP = {"http.request.method": "POST", "url.full": "https://bank.example/pay"}
REDIS = {"db.system": "redis"}


def call(seconds=0.0, attributes=HTTP, name="POST", kind=SpanKind.CLIENT):
    """What another instrumentation's span looks like."""
    with otel.get_tracer("opentelemetry.instrumentation.any").start_as_current_span(
        name, kind=kind, attributes=attributes
    ):
        time.sleep(seconds)


def test_detects_http_calls(trace):
    def view():
        with transaction.atomic():
            Group.objects.create(name="a")
            call(0.06)
            call()

    served(view)
    (finding,) = found(trace, TYPE)
    assert finding.message.startswith("2 calls to other services (POST, ")
    assert finding.message.endswith(
        "inside an open transaction of 'default': its locks and its connection are held meanwhile"
    )
    assert finding.severity == "warning"
    assert finding.evidence["count"] == 2
    assert finding.evidence["transaction"] == f"{__file__}:{line_of(view, 1)}"
    assert (finding.site.path, finding.site.line) == (__file__, line_of(call, 2))
    assert said_on(trace, "transaction default") == [TYPE]
    assert trace.named("transaction default").attributes["django.db.transaction.external_io_ms"] >= 60


def test_detects_a_quick_http_call_as_information(trace):
    def view():
        with transaction.atomic():
            call()

    served(view)
    assert [each.severity for each in found(trace, TYPE)] == ["information"]


def test_detects_a_cache_when_it_is_slow(trace):
    def view():
        with transaction.atomic():
            for _ in range(3):
                call(0.02, REDIS, "GET")

    served(view)
    (finding,) = found(trace, TYPE)
    assert finding.evidence["count"] == 3
    assert finding.evidence["duration_ms"] >= 60


def test_detects_a_slow_publish(trace, monkeypatch):
    app = make_app(queue=f"clew-{uuid.uuid4().hex[:12]}")
    send = app.amqp.send_task_message
    monkeypatch.setattr(
        app.amqp, "send_task_message", lambda *args, **kwargs: (time.sleep(0.06), send(*args, **kwargs))
    )

    def view():
        with transaction.atomic():
            app.tasks["add"].delay(1, 2)

    served(view)
    (finding,) = found(trace, TYPE)
    assert "(publish, " in finding.message
    assert (finding.site.path, finding.site.line) == (__file__, line_of(view, 2))


@pytest.mark.django_db
def test_detects_it_inside_a_test_s_transaction(trace):
    def view():
        with transaction.atomic():
            call()

    served(view)
    assert len(found(trace, TYPE)) == 1


def test_no_false_positive_for_a_quick_cache_or_publish():
    app = make_app(queue=f"clew-{uuid.uuid4().hex[:12]}")

    def view():
        with transaction.atomic():
            call(0, REDIS, "GET")
            app.tasks["add"].delay(1, 2)

    with tracing(io_in_transaction_threshold_ms=60_000) as trace:
        served(view)
    assert not found(trace, TYPE)
    assert trace.named("transaction default").attributes["django.db.transaction.external_io_ms"] > 0


@pytest.mark.django_db
def test_no_false_positive_in_a_test_s_own_transaction(trace):
    served(lambda: call(0.06))
    assert not found(trace, TYPE)


def test_no_false_positive_before_and_after_and_in_on_commit(trace):
    def view():
        call(0.06)
        with transaction.atomic():
            transaction.on_commit(lambda: call(0.06))
        call(0.06)

    served(view)
    assert not found(trace, TYPE)


def test_no_false_positive_for_spans_that_are_no_calls(trace):
    def view():
        with transaction.atomic():
            call(0.06, {}, "work", SpanKind.INTERNAL)

    served(view)
    assert not found(trace, TYPE)


@pytest.mark.parametrize(
    ("name", "attributes"),
    [
        ("POST", HTTP),
        ("GET", {**REDIS, "server.address": "127.0.0.1"}),
        ("send", {"server.address": "smtp.example", "server.port": 25}),
        ("SELECT", {"db.system.name": "postgresql", "db.namespace": "warehouse"}),
    ],
)
def test_detects_other_services(trace, name, attributes):
    def view():
        with transaction.atomic():
            call(0.06, attributes, name)

    served(view)
    (finding,) = found(trace, TYPE)
    assert finding.message.startswith(f"a call to other services ({name}, ")


def test_detects_a_call_once_that_two_libraries_show(trace):
    def view():
        with transaction.atomic(), otel.get_tracer("requests").start_as_current_span("POST", kind=SpanKind.CLIENT):
            call(0.06)

    served(view)
    assert [each.evidence["count"] for each in found(trace, TYPE)] == [1]


def test_the_fix_mends_it(trace):
    def view():
        with transaction.atomic():
            Group.objects.create(name="a")
            transaction.on_commit(call)

    served(view)
    assert not found(trace, TYPE)


@pytest.mark.parametrize("attributes", [{"db.system": "sqlite"}, {"db.system.name": "sqlite", "db.namespace": "x"}])
def test_no_false_positive_for_what_is_in_this_process(trace, attributes):
    def view():
        with transaction.atomic():
            call(0.06, attributes, "SELECT")

    served(view)
    assert not found(trace, TYPE)


@pytest.mark.postgres
@pytest.mark.parametrize(
    "attributes",
    [
        {"db.system": "postgresql"},
        {"db.system.name": "postgresql", "db.namespace": "test", "server.address": "127.0.0.1"},
        {"db.system": "postgresql", "db.name": "test|public"},
    ],
)
def test_no_false_positive_for_the_database_s_own_statements(trace, postgres, attributes):  # noqa: F811
    def view():
        with transaction.atomic("pg"):
            call(0.06, attributes, "FETCH")

    served(view)
    assert not found(trace, TYPE)


@pytest.mark.postgres
def test_detects_another_database_of_the_same_kind(trace, postgres):  # noqa: F811
    def view():
        with transaction.atomic("pg"):
            call(0.06, {"db.system": "postgresql", "db.name": "warehouse"}, "SELECT")

    served(view)
    assert len(found(trace, TYPE)) == 1


def test_no_false_positive_for_a_cache_in_the_same_database(trace, settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "clew_cache"}}
    call_command("createcachetable", verbosity=0)

    def view():
        with transaction.atomic():
            caches["default"].set("a", 1)
            assert caches["default"].get("a") == 1

    assert served(view).status_code == 200
    assert not found(trace, TYPE)
