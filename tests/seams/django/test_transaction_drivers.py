"""With a driver's instrumentation: its spans of BEGIN and SAVEPOINT are in the transaction that they begin."""

from __future__ import annotations

import os

import pytest
from django.db import connections, transaction
from django.http import HttpResponse
from django.test import Client, override_settings
from django.urls import path

from clew.testing import tracing
from tests.services import require

SERVER = {"HOST": "127.0.0.1", "USER": "postgres", "PASSWORD": "", "PORT": "5432"}
DATABASES = {
    "sqlite3": ("sqlite3", {}),
    "psycopg": ("postgresql", SERVER),
}
BEGINS = {"sqlite3": ["BEGIN"], "psycopg": []}  # psycopg sends it with the first statement


def view(request):
    with connections["driver"].cursor() as cursor, transaction.atomic(using="driver"):
        cursor.execute("SELECT 1")
        with transaction.atomic(using="driver"):
            cursor.execute("SELECT 2")
    return HttpResponse()


def nowhere(request):
    with pytest.raises(Exception, match="no_such_alias"), transaction.atomic(using="no_such_alias"):
        pass
    return HttpResponse()


def refused(request):
    other = connections["driver"]
    other.close()
    other.settings_dict["NAME"] = os.path.join("/nowhere", "none.db")
    with pytest.raises(Exception, match="open"), transaction.atomic(using="driver"):
        pass
    return HttpResponse()


urlpatterns = [path("", view), path("nowhere/", nowhere), path("refused/", refused)]
SITE = override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[])


@pytest.fixture(params=["sqlite3", pytest.param("psycopg", marks=pytest.mark.postgres)])
def driver(request, tmp_path, django_db_blocker):
    name = request.param
    engine, server = DATABASES[name]
    if server:
        require("postgres")
    module = pytest.importorskip(f"opentelemetry.instrumentation.{name}")
    instrumentor = getattr(module, {"sqlite3": "SQLite3Instrumentor", "psycopg": "PsycopgInstrumentor"}[name])()
    instrumentor.instrument(skip_dep_check=True)
    connections.settings["driver"] = {
        **connections.settings["default"],
        "ENGINE": f"django.db.backends.{engine}",
        "NAME": "test" if server else str(tmp_path / "driver.db"),
        "OPTIONS": {},
        **server,
    }
    with django_db_blocker.unblock():
        yield name
        connections["driver"].close()
    del connections["driver"], connections.settings["driver"]
    instrumentor.uninstrument()


def below(trace, parent):
    spans = [span for span in trace.spans if span.parent and span.parent.span_id == parent.context.span_id]
    return [span.name for span in sorted(spans, key=lambda span: span.start_time)]


def test_what_begins_it_is_in_it(driver):
    with SITE, tracing() as trace:
        Client().get("/")
    by_name = {span.name: span for span in trace.spans}
    assert below(trace, by_name["transaction driver"]) == [*BEGINS[driver], "SELECT", "savepoint driver"]
    assert below(trace, by_name["savepoint driver"]) == ["SAVEPOINT", "SELECT", "RELEASE"]
    (view,) = [span for span in trace.spans if span.name.startswith("view ")]
    assert set(below(trace, view)) <= {"SELECT", "transaction driver"}  # Django asks psycopg's for its time zone


@pytest.mark.parametrize("url", ["nowhere", "refused"])
def test_a_block_that_is_never_entered_is_no_transaction(driver, url):
    if driver != "sqlite3":
        pytest.skip("the same for every database")
    with SITE, tracing() as trace:
        assert Client().get(f"/{url}/").status_code == 200
    assert not [span.name for span in trace.spans if span.name.startswith("transaction")]
