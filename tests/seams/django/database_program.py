"""One site on the database DATABASE names; prints the trees of its views as JSON (see test_database_backends.py)."""

# ruff: noqa: E402 - the driver is chosen before Django is imported

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))
NAME = f"clew_test_{os.getpid()}"
POSTGRES = {"ENGINE": "django.db.backends.postgresql", "HOST": "127.0.0.1", "USER": "postgres", "NAME": NAME}
MARIADB = {"ENGINE": "django.db.backends.mysql", "HOST": "127.0.0.1", "USER": "root", "NAME": NAME}
DATABASES = {
    "sqlite": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
    "psycopg": POSTGRES,
    "pool": {**POSTGRES, "OPTIONS": {"pool": {"min_size": 1, "max_size": 2}}},
    "psycopg2": POSTGRES,
    "mariadb": MARIADB,
}
WHICH = os.environ["DATABASE"]

if WHICH == "psycopg2":
    sys.modules["psycopg"] = None  # type: ignore[assignment] - Django takes version 3 if it is there
if WHICH == "mariadb":
    import pymysql

    pymysql.version_info = (2, 2, 8, "final", 0)  # what Django asks of mysqlclient
    pymysql.install_as_MySQLdb()

if os.environ.get("INSTRUMENTED"):
    module = {"sqlite": "sqlite3", "pool": "psycopg", "mariadb": "pymysql"}.get(WHICH, WHICH)
    kind = {"sqlite": "SQLite3", "mariadb": "PyMySQL", "psycopg2": "Psycopg2"}.get(WHICH, "Psycopg")
    driver = importlib.import_module(f"opentelemetry.instrumentation.{module}")
    options = {} if WHICH == "sqlite" else {"skip_dep_check": True}
    getattr(driver, f"{kind}Instrumentor")().instrument(**options)

import django
from django.conf import settings

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["*"],
    SECRET_KEY="test",
    USE_TZ=True,
    INSTALLED_APPS=["django.contrib.contenttypes", "django.contrib.auth"],
    MIGRATION_MODULES={"contenttypes": None, "auth": None},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    DATABASES={"default": DATABASES[WHICH]},
    TEMPLATES=[
        {
            "BACKEND": "django.template.backends.django.DjangoTemplates",
            "OPTIONS": {
                "loaders": [
                    (
                        "django.template.loaders.locmem.Loader",
                        {"list.html": "{% for each in permissions %}\n{{ each.content_type.model }}{% endfor %}"},
                    )
                ]
            },
        }
    ],
)
django.setup()

from django.contrib.auth.models import Group, Permission
from django.core.management import call_command
from django.db import IntegrityError, connection, transaction
from django.db.models import Count
from django.http import HttpResponse
from django.shortcuts import render
from django.test import Client
from django.urls import path

from clew.testing import tracing


def queries(request):
    list(Group.objects.filter(name__startswith="group").annotate(Count("permissions")))
    Group.objects.filter(name="nobody").first()
    Group.objects.filter(name="nobody").exists()
    Group.objects.create(name="new")
    Group.objects.filter(name="new").update(name="newer")
    Group.objects.filter(name="newer").delete()
    Group.objects.bulk_create([Group(name="bulk 1"), Group(name="bulk 2")])
    return HttpResponse(Group.objects.count())


def raw(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT name FROM auth_group WHERE name = 'hunter2' OR id = 4711")
        cursor.execute("SELECT name FROM auth_group WHERE name = %s", ["group 1"])
        found = cursor.fetchall()
        cursor.executemany("INSERT INTO auth_group (name) VALUES (%s)", [["many 1"], ["many 2"], ["many 3"]])
    list(Group.objects.raw("SELECT id, name FROM auth_group WHERE name = %s", ["group 2"]))
    return HttpResponse(str(found))


def in_template(request):
    return render(request, "list.html", {"permissions": Permission.objects.order_by("pk")[:6]})


def iterated(request):
    return HttpResponse(",".join(group.name for group in Group.objects.order_by("pk").iterator(chunk_size=2)))


def transactions(request):
    with transaction.atomic():
        Group.objects.create(name="outer")
        try:
            with transaction.atomic():
                Group.objects.create(name="inner")
                Group.objects.create(name="outer")
        except IntegrityError:
            pass
        list(Group.objects.select_for_update().filter(name="outer"))
        transaction.on_commit(lambda: Group.objects.filter(name="outer").count())
    return HttpResponse("ok")


def broken(request):
    with connection.cursor() as cursor:
        cursor.execute("SELECT nothing FROM nowhere")


VIEWS = [queries, raw, in_template, iterated, transactions, broken]
urlpatterns = [path(f"{view.__name__}/", view) for view in VIEWS]
SHOWN = (
    "db.operation.name",
    "db.operation.batch.size",
    "db.collection.name",
    "clew.db.phase",
    "clew.folded.count",
    "django.db.transaction.outcome",
    "code.line.number",
)


def administer(statement: str) -> None:
    if WHICH == "mariadb":
        connecting = pymysql.connect(host="127.0.0.1", user="root", autocommit=True)
    elif WHICH == "sqlite":
        return
    elif WHICH == "psycopg2":
        import psycopg2

        connecting = psycopg2.connect("host=127.0.0.1 user=postgres dbname=postgres")
        connecting.autocommit = True
    else:
        import psycopg

        connecting = psycopg.connect("host=127.0.0.1 user=postgres dbname=postgres", autocommit=True)
    connecting.cursor().execute(statement)
    connecting.close()


def main() -> None:
    administer(f"CREATE DATABASE {NAME}")
    try:
        call_command("migrate", run_syncdb=True, verbosity=0)
        Group.objects.bulk_create([Group(name=f"group {number}") for number in range(5)])
        found = {}
        client = Client(raise_request_exception=False)
        for view in VIEWS:
            client.get(f"/{view.__name__}/")
            Group.objects.exclude(name__startswith="group").delete()
            with tracing(detail="default", resolve_threshold_ms=1e9) as trace:
                response = client.get(f"/{view.__name__}/")
            root = trace.spans[-1]
            spans = [span for span in trace.spans if span.name != "resolve"]
            found[view.__name__] = {
                "tree": trace.tree(*SHOWN).splitlines(),
                "status": response.status_code,
                "root": {key: value for key, value in root.attributes.items() if key.startswith("clew.")},
                "spans": [
                    {**span.attributes, "scope": span.instrumentation_scope.name}
                    for span in spans
                    if span.kind.name == "CLIENT"
                ],
                "findings": [finding.type for finding in trace.findings],
            }
        print(json.dumps(found, default=list))
    finally:
        connection.close()
        if WHICH == "pool":
            connection.close_pool()
        administer(f"DROP DATABASE {NAME}")


if __name__ == "__main__":
    main()
