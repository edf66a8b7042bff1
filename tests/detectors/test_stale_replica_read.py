"""`stale_replica_read`: written on one database, read from its replica."""

from __future__ import annotations

import contextlib
import sqlite3

import pytest
from django.contrib.auth.models import Group, User
from django.db import connections, router, transaction

from clew.testing import tracing
from tests.detectors.served import get
from tests.detectors.shared import found, unsampled

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


MIRROR = {"TEST": {"MIRROR": "default", "NAME": None}}


class Routers:
    """Django's own example: writes to the primary, reads from a replica."""

    def db_for_read(self, model, **hints):
        return "copy"

    def db_for_write(self, model, **hints):
        return "default"

    def allow_relation(self, *args, **hints):
        return True


@pytest.fixture
def routed(settings):
    settings.DATABASE_ROUTERS = [Routers()]
    router.__dict__.pop("routers", None)
    router._routers = None
    yield
    router.__dict__.pop("routers", None)


def test_detects_a_declared_mirror(second):
    second("copy", **MIRROR)
    [finding], trace = findings(lambda: write_and_read("copy"))
    assert finding.message == "auth_group was written on 'default' and then read from 'copy', which may not have it yet"
    assert finding.fix == "read it with .using('default')"
    assert finding.site.path == __file__
    assert trace.spans[-1].attributes["clew.db.alias.default.query_count"] == 1
    assert trace.spans[-1].attributes["clew.db.alias.copy.query_count"] == 1


def test_detects_the_same_database_on_another_host(second, monkeypatch):
    second("copy", HOST="replica.example")
    monkeypatch.setitem(connections.databases["default"], "NAME", connections.databases["copy"]["NAME"])
    assert len(findings(lambda: write_and_read("copy"))[0]) == 1


def test_detects_what_the_routers_read_elsewhere(second, routed):
    second("copy")

    def body():
        Group.objects.create(name="new")
        Group.objects.filter(name="new").first()

    [finding], _ = findings(body)
    assert finding.fix == (
        "read it with .using('default'), or let the database router send reads to 'default' once something is written"
    )


def test_detects_it_in_an_unsampled_request(second):
    second("copy", **MIRROR)
    assert [each.type for each in unsampled(lambda: get(lambda: write_and_read("copy")))] == ["stale_replica_read"]


def test_the_fix_mends_it(second, routed):
    second("copy", **MIRROR)

    def mended():
        group = Group.objects.create(name="new")
        assert Group.objects.using("default").filter(name="new").first() == group

    assert findings(mended)[0] == []


@pytest.mark.parametrize("alias", ["replica", "read_only", "reader-2"])
def test_no_false_positive_for_a_name_alone(second, alias):
    second(alias)
    assert findings(lambda: write_and_read(alias))[0] == []


def test_no_false_positive_for_another_port_or_name_of_this_machine(second, monkeypatch):
    second("direct", HOST="127.0.0.1", PORT="6432")
    monkeypatch.setitem(connections.databases["default"], "NAME", connections.databases["direct"]["NAME"])
    assert findings(lambda: write_and_read("direct"))[0] == []


def test_no_false_positive_for_an_alias_that_is_named_beside_routers(second, routed):
    second("copy")
    assert findings(lambda: write_and_read("copy"))[0] == []


def test_no_false_positive_for_what_was_rolled_back(second):
    second("copy", **MIRROR)

    def body():
        with contextlib.suppress(ValueError), transaction.atomic():
            Group.objects.create(name="new")
            raise ValueError("no")
        with transaction.atomic(), contextlib.suppress(ValueError), transaction.atomic():
            Group.objects.create(name="new")
            raise ValueError("no")
        Group.objects.using("copy").first()

    assert findings(body)[0] == []


def test_what_was_written_before_a_rollback_stays_written(second):
    second("copy", **MIRROR)

    def body():
        Group.objects.create(name="old")
        with contextlib.suppress(ValueError), transaction.atomic():
            Group.objects.create(name="new")
            raise ValueError("no")
        Group.objects.using("copy").first()

    assert len(findings(body)[0]) == 1


def test_no_false_positive_for_what_changed_no_row(second):
    second("copy", **MIRROR)

    def body():
        Group.objects.filter(pk=4711).update(name="none")
        Group.objects.filter(pk=4711)._raw_delete("default")
        Group.objects.using("copy").first()

    assert findings(body)[0] == []


def test_no_false_positive_for_another_table(second):
    second("copy", **MIRROR)

    def body():
        User.objects.create(username="new")
        Group.objects.using("copy").first()

    assert findings(body)[0] == []


def test_no_false_positive_for_a_database_of_its_own(second):
    second("shard_2")
    assert findings(lambda: write_and_read("shard_2"))[0] == []


def test_no_false_positive_for_a_read_before_the_write_or_of_what_was_written_there(second):
    second("replica", **MIRROR)

    def before():
        Group.objects.using("replica").first()
        Group.objects.create(name="new")

    def there():
        Group.objects.create(name="newer")
        Group.objects.using("replica").create(name="newer", pk=1)
        Group.objects.using("replica").first()

    assert findings(before)[0] == []
    assert findings(there)[0] == []
