"""What belongs to the application is called as often, and looked at as little, as without clew; odd objects, too."""

from __future__ import annotations

from unittest import mock

import pytest
from django.contrib.auth import hashers
from django.contrib.auth.models import Group
from django.db import transaction
from django.db import transaction as transaction_module
from django.template import Context, Engine, Template
from opentelemetry import trace as otel

from clew.testing import tracing
from tests.seams.django.test_transaction import postgres  # noqa: F401

pytestmark = pytest.mark.django_db(transaction=True)


def in_root(act):
    with otel.get_tracer("tests").start_as_current_span("root"):
        return act()


def counted(monkeypatch, owner, name):
    """How often a function is called that a site has put in the place of the library's own."""
    original, calls = getattr(owner, name), []

    def replaced(*args, **kwargs):
        calls.append(name)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, replaced)
    return calls


def in_two_blocks():
    with transaction.atomic(), transaction.atomic():
        Group.objects.count()


def check():
    assert hashers.check_password("secret", hashers.make_password("secret"))


@pytest.mark.parametrize(
    ("owner", "name", "act"),
    [
        (hashers, "identify_hasher", check),
        (hashers, "get_hasher", check),
        (hashers, "get_hashers_by_algorithm", check),
        (transaction_module, "get_connection", in_two_blocks),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
def test_a_function_that_a_site_may_replace_is_not_called_for_us(owner, name, act, monkeypatch):
    calls = counted(monkeypatch, owner, name)
    act()
    without = len(calls)
    with tracing():
        in_root(act)
    assert (without > 0, len(calls)) == (True, 2 * without)


@pytest.mark.parametrize("when", ["before", "after"])
def test_the_hashers_algorithm_is_told_where_a_site_has_replaced_what_finds_it(when, monkeypatch):
    if when == "before":
        counted(monkeypatch, hashers, "identify_hasher")
    with tracing() as trace:
        if when == "after":
            counted(monkeypatch, hashers, "identify_hasher")
        in_root(check)
        assert trace.named("auth check_password").attributes["django.auth.hasher"]


def test_a_hash_that_is_looked_at_elsewhere_is_not_told(trace):
    in_root(lambda: hashers.identify_hasher(hashers.make_password("secret")))
    assert [dict(span.attributes) for span in trace.spans] == [{}]


def test_a_template_that_is_rendered_with_something_else_than_a_context(trace):
    with pytest.raises(AttributeError, match="'dict' object has no attribute 'render_context'"):
        in_root(lambda: Engine().from_string("a").render({}))
    assert trace.named("template <string>").attributes["error.type"] == "AttributeError"


def test_a_template_class_of_the_applications_that_does_not_call_djangos(trace):
    class Lines(Template):
        def __init__(self, nodelist):
            self.nodelist = nodelist
            self.engine, self.name = Engine(), None

    assert in_root(lambda: Lines(Engine().from_string("a").nodelist).render(Context())) == "a"
    assert trace.named("template <string>")


@pytest.mark.parametrize("robust", [False, True])
@pytest.mark.parametrize("kind", [mock.Mock, mock.MagicMock])
def test_a_hook_that_is_a_mock(trace, kind, robust, caplog):
    inside, at_once = kind(), kind()

    def act():
        with transaction.atomic():
            transaction.on_commit(inside, robust=robust)
        transaction.on_commit(at_once, robust=robust)

    in_root(act)
    assert (inside.call_args_list, at_once.call_args_list) == ([mock.call()], [mock.call()])
    assert (inside.method_calls, at_once.method_calls) == ([], [])
    assert caplog.records == []
    assert len([span for span in trace.spans if span.name.startswith("on_commit")]) == 2


async def coroutine_function():
    raise AssertionError("nobody awaits it")


@pytest.mark.filterwarnings("ignore:coroutine 'coroutine_function' was never awaited:RuntimeWarning")
def test_a_hook_that_nobody_awaits_stays_one(trace):
    in_root(lambda: transaction.on_commit(coroutine_function))
    assert trace.named("on_commit test_applications_objects.coroutine_function")


def test_queries_in_hooks_say_so(trace):
    def act():
        with transaction.atomic():
            transaction.on_commit(Group.objects.count)
        transaction.on_commit(Group.objects.exists)

    in_root(act)
    queries = [span for span in trace.spans if span.name == "SELECT auth_group"]
    assert [query.attributes["clew.db.phase"] for query in queries] == ["hook", "hook"]


def test_a_literal_of_psycopgs_is_composed_once(trace, postgres):  # noqa: F811
    psycopg = pytest.importorskip("psycopg")
    from psycopg.types.string import StrDumper

    pg, table = postgres
    dumped = []

    class Name(str):
        __slots__ = ()

    class NameDumper(StrDumper):
        def dump(self, value):
            dumped.append(value)
            return super().dump(value)

    pg.ensure_connection()
    pg.connection.adapters.register_dumper(Name, NameDumper)

    def act():
        with pg.cursor() as cursor:
            sql = psycopg.sql
            query = sql.SQL("SELECT id FROM {} WHERE {} = {}").format(
                sql.Identifier(table), sql.Literal("a"), sql.Literal(Name("secret"))
            )
            cursor.execute(query)

    act()
    without = len(dumped)
    in_root(act)
    assert (without > 0, len(dumped)) == (True, 2 * without)
    query = trace.named(f"SELECT {table}")
    assert query.attributes["db.query.text"] == f'SELECT id FROM "{table}" WHERE ? = ?'
