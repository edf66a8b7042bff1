"""`stale_replica_read`: written on one database, read from its replica."""

from __future__ import annotations

import sqlite3

import pytest
from django.contrib.auth.models import Group
from django.db import connections

from clew.testing import tracing
from tests.detectors.served import get
from tests.detectors.shared import found

pytestmark = pytest.mark.django_db(databases=["default"])


@pytest.fixture
def second(tmp_path, settings, django_db_blocker):
    """Another database with the same table; gives a function that names it."""
    file = tmp_path / "second.sqlite3"
    with sqlite3.connect(file) as made:
        made.execute("CREATE TABLE auth_group (id integer PRIMARY KEY, name varchar(150))")
    made.close()
    aliases = []

    def name(alias: str, **options) -> str:
        connections.databases[alias] = {
            **connections.databases["default"],
            "NAME": str(file),
            "TEST": {**connections.databases["default"].get("TEST", {}), "MIRROR": None},
            **options,
        }
        aliases.append(alias)
        return alias

    with django_db_blocker.unblock():
        yield name
        for alias in aliases:
            connections[alias].close()
            del connections.databases[alias]
            delattr(connections._connections, alias)


def findings(body):
    with tracing() as trace:
        get(body)
    return found(trace, "stale_replica_read"), trace


def write_and_read(alias):
    Group.objects.create(name="new")
    Group.objects.using(alias).filter(name="new").first()


@pytest.mark.parametrize("alias", ["replica", "read_only", "reader-2"])
def test_detects_a_read_from_a_replica_after_a_write(second, alias):
    second(alias)
    [finding], trace = findings(lambda: write_and_read(alias))
    assert (
        finding.message
        == f"auth_group was written on 'default' and then read from {alias!r}, which may not have it yet"
    )
    assert ".using('default')" in finding.fix
    assert finding.site.path == __file__
    assert trace.spans[-1].attributes["clew.db.alias.default.query_count"] == 1
    assert trace.spans[-1].attributes[f"clew.db.alias.{alias}.query_count"] == 1


def test_detects_a_declared_mirror(second):
    second("copy", TEST={**connections.databases["default"].get("TEST", {}), "MIRROR": "default"})
    assert len(findings(lambda: write_and_read("copy"))[0]) == 1


def test_no_false_positive_for_a_database_of_its_own(second):
    second("shard_2")
    assert findings(lambda: write_and_read("shard_2"))[0] == []


def test_no_false_positive_for_a_read_before_the_write_or_of_what_was_written_there(second):
    second("replica")

    def before():
        Group.objects.using("replica").first()
        Group.objects.create(name="new")

    def there():
        Group.objects.create(name="newer")
        Group.objects.using("replica").create(name="newer", pk=1)
        Group.objects.using("replica").first()

    assert findings(before)[0] == []
    assert findings(there)[0] == []
