"""The same views on every database: the same trees, with each driver's own attributes."""

from __future__ import annotations

import functools
import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import django
import pytest

from tests.services import require

pytestmark = pytest.mark.slow
PROGRAM = Path(__file__).with_name("database_program.py")
BACKENDS = [
    pytest.param("psycopg", marks=pytest.mark.postgres),
    pytest.param("pool", marks=pytest.mark.postgres),
    pytest.param("psycopg2", marks=pytest.mark.postgres),
    pytest.param("mariadb", marks=pytest.mark.mariadb),
]
SYSTEMS = {"psycopg": "postgresql", "pool": "postgresql", "psycopg2": "postgresql", "mariadb": "mariadb"}


@functools.cache
def run(database: str, is_instrumented: bool = False) -> dict:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "DJANGO_"))}
    environment["DATABASE"] = database
    if is_instrumented:
        environment["INSTRUMENTED"] = "1"
    done = subprocess.run([sys.executable, PROGRAM], env=environment, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert "clew: internal error" not in done.stderr, done.stderr
    return json.loads(done.stdout)


def on(database: str, is_instrumented: bool = False) -> dict:
    require("mariadb" if database == "mariadb" else "postgres")
    if database == "pool" and (django.VERSION < (5, 1) or importlib.util.find_spec("psycopg_pool") is None):
        pytest.skip("Django has pools from 5.1 on, with psycopg_pool")
    for module in {"mariadb": ["pymysql"], "psycopg2": ["psycopg2"]}.get(database, []):
        if importlib.util.find_spec(module) is None:
            pytest.skip(f"{module} is not installed")
    return run(database, is_instrumented)


def without_lines(tree: list[str]) -> list[str]:
    return [line.rpartition(" number=")[0] or line for line in tree]


@pytest.mark.parametrize("database", BACKENDS)
def test_the_tree_is_the_same_on_every_database(database):
    there, here = on(database), run("sqlite")
    for view in here:
        assert there[view]["tree"] == here[view]["tree"], view
        assert there[view]["status"] == here[view]["status"], view
        assert there[view]["findings"] == here[view]["findings"], view
        assert there[view]["root"]["clew.db.query_count"] == here[view]["root"]["clew.db.query_count"], view


@pytest.mark.parametrize("database", BACKENDS)
def test_the_driver_says_what_only_it_knows(database):
    there = on(database)
    first = there["queries"]["spans"][0]
    assert first["db.system.name"] == SYSTEMS[database]
    assert first["db.namespace"].startswith("clew_test_")
    assert first["server.address"] == "127.0.0.1"
    assert first["db.response.returned_rows"] == 5
    [broken] = there["broken"]["spans"]
    assert broken["db.response.status_code"] == ("42S02" if database == "mariadb" else "42P01")
    assert there["iterated"]["spans"][0]["db.response.returned_rows"] == 5


def test_the_tree_of_queries():
    assert without_lines(run("sqlite")["transactions"]["tree"]) == [
        "SERVER GET transactions/",
        "  view __main__.transactions",
        "    transaction default outcome=committed",
        "      CLIENT INSERT auth_group name=INSERT name=auth_group phase=view",
        "      savepoint default ERROR outcome=rolled_back",
        "        CLIENT INSERT auth_group name=INSERT name=auth_group phase=view",
        "        CLIENT INSERT auth_group ERROR name=INSERT name=auth_group phase=view",
        "      CLIENT SELECT auth_group name=SELECT name=auth_group phase=view",
        "    on_commit __main__.<lambda>",
        "      CLIENT SELECT auth_group name=SELECT name=auth_group phase=hook",
    ]
    assert without_lines(run("sqlite")["in_template"]["tree"]) == [
        "SERVER GET in_template/",
        "  view __main__.in_template",
        "    template list.html",
        "      CLIENT SELECT auth_permission name=SELECT name=auth_permission phase=template",
        "      CLIENT SELECT django_content_type name=SELECT name=django_content_type phase=template count=6",
    ]


def test_literals_of_raw_sql_and_parameters_are_not_recorded():
    spans = run("sqlite")["raw"]["spans"]
    assert spans[0]["db.query.text"] == "SELECT name FROM auth_group WHERE name = ? OR id = ?"
    assert spans[1]["db.query.text"] == "SELECT name FROM auth_group WHERE name = %s"
    assert "hunter2" not in json.dumps(run("sqlite"))
    assert "group 1" not in json.dumps(run("sqlite"))


@pytest.mark.parametrize("database", [pytest.param("sqlite"), *BACKENDS])
def test_a_drivers_own_span_is_annotated_and_there_is_no_second(database):
    if importlib.util.find_spec("opentelemetry.instrumentation.dbapi") is None:
        pytest.skip("no driver instrumentation is installed")
    there = run("sqlite", True) if database == "sqlite" else on(database, True)
    plain = run(database)
    for view in ("queries", "raw", "in_template", "broken"):
        spans = [span for span in there[view]["spans"] if "db.query.summary" in span]
        assert {span["scope"].partition(".instrumentation.")[0] for span in spans} == {"opentelemetry"}, view
        folded = sum(span.get("clew.folded.count", 1) for span in plain[view]["spans"])
        assert len(spans) == folded, view
        assert {span["clew.db.phase"] for span in spans} == {span["clew.db.phase"] for span in plain[view]["spans"]}
        assert there[view]["findings"] == plain[view]["findings"]
        assert not [name for name in there[view]["root"] if name.startswith("clew.external.")]
        assert there[view]["root"]["clew.db.query_count"] == plain[view]["root"]["clew.db.query_count"]


@pytest.mark.parametrize("database", [pytest.param("sqlite"), *BACKENDS])
def test_what_a_driver_s_own_spans_begin_is_in_it_and_has_its_tables_in_the_name(database):
    if importlib.util.find_spec("opentelemetry.instrumentation.dbapi") is None:
        pytest.skip("no driver instrumentation is installed")
    there = run("sqlite", True) if database == "sqlite" else on(database, True)
    # The others' drivers send it with the first statement.
    begun = ["      CLIENT BEGIN"] if database == "sqlite" else []
    assert without_lines(there["transactions"]["tree"]) == [
        "SERVER GET transactions/",
        "  view __main__.transactions",
        "    transaction default outcome=committed",
        *begun,
        "      CLIENT INSERT auth_group phase=view",
        "      savepoint default ERROR outcome=rolled_back",
        "        CLIENT SAVEPOINT",
        "        CLIENT INSERT auth_group phase=view",
        "        CLIENT INSERT auth_group ERROR phase=view",
        "        CLIENT ROLLBACK",
        "        CLIENT RELEASE",
        "      CLIENT SELECT auth_group phase=view",
        "    on_commit __main__.<lambda>",
        "      CLIENT SELECT auth_group phase=hook",
    ]
