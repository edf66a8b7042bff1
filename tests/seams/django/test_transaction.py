"""Transactions and savepoints: the tree, how they ended and why, and that nothing changes for the application."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
import threading
import uuid

import pytest
from asgiref.sync import sync_to_async
from django.contrib.auth.models import Group, User
from django.db import DatabaseError, IntegrityError, connection, connections, transaction
from django.db.backends.utils import CursorWrapper
from django.http import Http404, HttpResponse, StreamingHttpResponse
from django.test import Client
from django.urls import path
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import clew
from clew.seams.django.transaction import SEAM
from clew.story import transactions
from clew.testing import tracing
from tests.others_code import installed
from tests.seams.django.test_template import below_view
from tests.services import require

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db(transaction=True)]
T = "django.db.transaction."
WHAT = (f"{T}outcome", f"{T}rollback_reason")
todo = []


def run(request):
    return todo[-1](request) or HttpResponse("done")


urlpatterns = [path("run/", run)]


def served(function, client=None):
    """What a request answers whose view does `function`."""
    todo.append(lambda request: function())
    try:
        return (client or Client(raise_request_exception=False)).get("/run/")
    finally:
        todo.pop()


def line_of(function, offset):
    return function.__code__.co_firstlineno + offset


@pytest.fixture
def postgres(django_db_blocker):
    """A second database, a real PostgreSQL, with a table of its own; gives the alias and the table."""
    require("postgres")
    alias, table = "pg", f"clew_{uuid.uuid4().hex[:10]}"
    connections.settings[alias] = {
        **connections.settings["default"],
        "ENGINE": "django.db.backends.postgresql",
        "NAME": "test",
        "HOST": "127.0.0.1",
        "PORT": "5432",
        "USER": "postgres",
        "PASSWORD": "",
        "OPTIONS": {},
        "ATOMIC_REQUESTS": False,
    }
    with django_db_blocker.unblock():
        pg = connections[alias]
        with pg.cursor() as cursor:
            cursor.execute(f"CREATE TABLE {table} (id integer PRIMARY KEY, up integer)")
            cursor.execute(
                f"ALTER TABLE {table} ADD CONSTRAINT {table}_up FOREIGN KEY (up) REFERENCES {table} (id) "
                "DEFERRABLE INITIALLY DEFERRED"
            )
        yield pg, table
        with contextlib.suppress(Exception):
            pg.rollback()
        pg.close()
        with pg.cursor() as cursor:
            cursor.execute(f"DROP TABLE {table}")
        pg.close()
    del connections[alias]
    del connections.settings[alias]


CACHALOTS = """
def wrapped(original):
    def inner(cursor, sql, *args, **kwargs):
        return original(cursor, sql, *args, **kwargs)
    return inner
"""


def test_the_begin_of_django_is_no_query_below_somebodys_wrapper(trace, monkeypatch):
    monkeypatch.setattr(CursorWrapper, "execute", installed(CACHALOTS)["wrapped"](CursorWrapper.execute))

    def view():
        with transaction.atomic():
            Group.objects.create(name="a")

    served(view)
    assert [span.name for span in trace.spans if span.name.startswith(("BEGIN", "INSERT"))] == ["INSERT auth_group"]


def test_a_transaction_and_a_savepoint(trace):
    def view():
        with transaction.atomic():
            Group.objects.create(name="a")
            with transaction.atomic():
                Group.objects.create(name="b")

    served(view)
    assert below_view(trace, *WHAT) == (
        "transaction default outcome=committed\n"
        "  CLIENT INSERT auth_group\n"
        "  savepoint default outcome=released\n"
        "    CLIENT INSERT auth_group"
    )
    span = trace.named("transaction default")
    assert span.instrumentation_scope.name == "clew.seams.django.transaction"
    held = dict(span.attributes)
    assert held.pop(f"{T}end_ms") > 0
    qualified = "test_a_transaction_and_a_savepoint.<locals>.view"
    assert held.pop("code.function.name").endswith(qualified if sys.version_info >= (3, 11) else ".view")
    assert held == {
        "django.db.alias": "default",
        f"{T}outcome": "committed",
        f"{T}query_count": 2,
        f"{T}write_count": 2,
        "code.file.path": __file__,
        "code.line.number": line_of(view, 1),
    }
    assert trace.named("savepoint default").attributes["code.line.number"] == line_of(view, 3)
    assert Group.objects.count() == 2


def test_an_error_rolls_back(trace):
    def view():
        with transaction.atomic():
            Group.objects.create(name="a")
            raise ValueError("no")

    assert served(view).status_code == 500
    span = trace.named("transaction default")
    assert below_view(trace, *WHAT) == (
        "transaction default ERROR outcome=rolled_back rollback_reason=exception\n  CLIENT INSERT auth_group"
    )
    assert span.attributes["error.type"] == "ValueError"
    assert [event.name for event in span.events] == ["exception"]
    assert not Group.objects.exists()


def test_an_answer_by_exception_is_no_error(trace):
    def view():
        with transaction.atomic():
            raise Http404

    assert served(view).status_code == 404
    assert below_view(trace, *WHAT) == "transaction default outcome=rolled_back rollback_reason=exception"


def test_a_savepoint_is_rolled_back_and_the_transaction_is_not(trace):
    def view():
        with transaction.atomic():
            Group.objects.create(name="a")
            with contextlib.suppress(IntegrityError), transaction.atomic():
                Group.objects.create(name="b")
                Group.objects.create(name="a")

    served(view)
    assert below_view(trace, *WHAT) == (
        "transaction default outcome=committed\n"
        "  CLIENT INSERT auth_group\n"
        "  savepoint default ERROR outcome=rolled_back rollback_reason=exception\n"
        "    CLIENT INSERT auth_group\n"
        "    CLIENT INSERT auth_group ERROR"
    )
    assert trace.named("transaction default").attributes[f"{T}write_count"] == 1
    assert trace.named("savepoint default").attributes[f"{T}query_count"] == 2
    assert [each.name for each in Group.objects.all()] == ["a"]


def test_a_caught_database_error_breaks_the_transaction(trace):
    def view():
        with transaction.atomic():
            Group.objects.create(name="a")
            with contextlib.suppress(IntegrityError):
                Group.objects.create(name="a")

    assert served(view).status_code == 200
    assert below_view(trace, *WHAT).splitlines()[0] == (
        "transaction default ERROR outcome=rolled_back rollback_reason=caught_exception"
    )
    assert trace.named("transaction default").attributes["error.type"] == "django.db.utils.IntegrityError"
    assert not Group.objects.exists()


def test_an_error_that_leaves_an_inner_block_without_savepoint_breaks_the_transaction(trace):
    def view():
        with transaction.atomic():
            Group.objects.create(name="a")
            with contextlib.suppress(KeyError), transaction.atomic(savepoint=False):
                raise KeyError("a")

    served(view)
    assert below_view(trace, *WHAT) == (
        "transaction default ERROR outcome=rolled_back rollback_reason=caught_exception\n  CLIENT INSERT auth_group"
    )
    assert trace.named("transaction default").attributes["error.type"] == "KeyError"


def test_set_rollback_is_no_error(trace):
    def view():
        with transaction.atomic():
            Group.objects.create(name="a")
            transaction.set_rollback(True)

    served(view)
    assert below_view(trace, *WHAT) == (
        "transaction default outcome=rolled_back rollback_reason=set_rollback\n  CLIENT INSERT auth_group"
    )


@transaction.atomic(durable=True)
def decorated():
    Group.objects.create(name="a")


def test_a_decorated_function_is_the_place(trace):
    served(decorated)
    held = trace.named("transaction default").attributes
    assert held[f"{T}durable"] is True
    assert held["code.function.name"] == f"{__name__}.decorated"
    assert held["code.line.number"] == decorated.__wrapped__.__code__.co_firstlineno


def test_django_s_own_block_is_the_line_that_led_to_it(trace):
    def view():
        User.objects.get_or_create(username="bob")

    served(view)
    assert trace.named("transaction default").attributes["code.line.number"] == line_of(view, 1)


def test_equal_transactions_side_by_side_are_one_span(trace):
    def view():
        for number in range(20):
            with transaction.atomic():
                Group.objects.create(name=str(number))

    served(view)
    assert below_view(trace, f"{T}outcome", "clew.folded.count") == (
        "transaction default outcome=committed count=20\n  CLIENT INSERT auth_group count=20"
    )


def test_atomic_requests(trace, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)
    served(lambda: Group.objects.create(name="a") and None)
    assert below_view(trace, f"{T}outcome", f"{T}atomic_request") == (
        "transaction default outcome=committed atomic_request=True\n  CLIENT INSERT auth_group"
    )
    assert "code.line.number" not in trace.named("transaction default").attributes


@transaction.atomic
def decorated_view(request):
    return HttpResponse(str(Group.objects.count()))


def test_a_decorated_view_is_not_atomic_requests(trace, monkeypatch):
    monkeypatch.setattr("tests.seams.django.test_transaction.run", decorated_view)
    monkeypatch.setattr(urlpatterns[0], "callback", decorated_view)
    Client().get("/run/")
    held = trace.named("transaction default").attributes
    assert f"{T}atomic_request" not in held
    assert held["code.function.name"] == f"{__name__}.decorated_view"


def test_atomic_requests_and_a_streamed_body(trace, monkeypatch):
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)

    def body():
        yield b"%d" % Group.objects.count()

    response = served(lambda: StreamingHttpResponse(body()))
    assert b"".join(response.streaming_content) == b"0"
    response.close()
    lines = trace.tree(f"{T}outcome").splitlines()
    assert [line.strip() for line in lines if "default" in line or "auth_group" in line] == [
        "transaction default outcome=committed",
        "CLIENT SELECT auth_group",
    ]


def test_autocommit_off(trace):
    def view():
        transaction.set_autocommit(False)
        try:
            Group.objects.create(name="a")
            transaction.commit()
            Group.objects.create(name="b")
            Group.objects.create(name="c")
            transaction.rollback()
        finally:
            transaction.set_autocommit(True)

    served(view)
    assert below_view(trace, *WHAT, f"{T}write_count", f"{T}manual") == (
        "transaction default outcome=committed write_count=1 manual=True\n"
        "CLIENT INSERT auth_group\n"
        "transaction default outcome=rolled_back rollback_reason=rollback write_count=2 manual=True\n"
        "CLIENT INSERT auth_group\n"
        "CLIENT INSERT auth_group"
    )
    assert [each.name for each in Group.objects.all()] == ["a"]


def test_a_generator_that_holds_a_block_across_contexts(trace, caplog):
    def generator():
        with transaction.atomic():
            yield Group.objects.count()

    def view():
        held = generator()
        next(held)
        with otel.get_tracer("user").start_as_current_span("user work"):
            held.close()
        assert otel.get_current_span().name.startswith(("transaction", "view"))

    with caplog.at_level(logging.ERROR, "opentelemetry"):
        assert served(view).status_code == 200
    assert not caplog.records
    assert trace.named("transaction default").attributes[f"{T}outcome"] == "rolled_back"


def test_entered_in_one_context_and_left_in_another(trace, caplog):
    def view():
        block = transaction.atomic()

        async def both():
            await sync_to_async(block.__enter__)()
            await sync_to_async(Group.objects.create)(name="a")
            await sync_to_async(block.__exit__)(None, None, None)

        asyncio.run(both())

    with caplog.at_level(logging.ERROR, "opentelemetry"):
        assert served(view).status_code == 200
    assert not caplog.records
    assert below_view(trace, f"{T}outcome") == ("transaction default outcome=committed\n  CLIENT INSERT auth_group")


@pytest.mark.postgres
def test_one_block_shared_by_threads(trace, postgres):
    _, table = postgres
    barrier = threading.Barrier(4)

    @transaction.atomic(using="pg")
    def work(number):
        barrier.wait(10)
        with connections["pg"].cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} (id) VALUES (%s)", [number])
        barrier.wait(10)

    def view(request):
        work(int(request.GET["number"]))
        connections["pg"].close()

    def one(number):
        Client().get("/run/", {"number": number})

    todo.append(view)
    threads = [threading.Thread(target=one, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    todo.pop()
    tree = trace.tree(f"{T}outcome", f"{T}write_count")
    below = f"    transaction pg outcome=committed write_count=1\n      CLIENT INSERT {table}"
    assert tree.count(below) == 4, tree


@pytest.mark.postgres
def test_postgres_has_the_same_tree(trace, postgres):
    pg, table = postgres

    def view():
        with transaction.atomic("pg"):
            with pg.cursor() as cursor:
                cursor.execute(f"INSERT INTO {table} (id) VALUES (1)")
            with transaction.atomic("pg"), pg.cursor() as cursor:
                cursor.execute(f"SELECT id FROM {table} FOR UPDATE")

    served(view)
    assert below_view(trace, f"{T}outcome") == (
        f"transaction pg outcome=committed\n  CLIENT INSERT {table}\n"
        f"  savepoint pg outcome=released\n    CLIENT SELECT {table}"
    )
    assert trace.named("transaction pg").attributes[f"{T}lock_held_ms"] > 0


@pytest.mark.postgres
def test_a_commit_that_fails(trace, postgres):
    pg, table = postgres

    def view():
        with contextlib.suppress(IntegrityError), transaction.atomic("pg"), pg.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} (id, up) VALUES (1, 99)")

    served(view)
    assert below_view(trace, *WHAT) == (
        f"transaction pg ERROR outcome=rolled_back rollback_reason=commit_failed\n  CLIENT INSERT {table}"
    )
    assert trace.named("transaction pg").attributes["error.type"] == "django.db.utils.IntegrityError"


@pytest.mark.postgres
def test_postgres_turns_a_commit_into_a_rollback(trace, postgres):
    """Django, and the application, are told nothing: the hooks run, the data is lost."""
    pg, table = postgres
    ran = []

    def view():
        with transaction.atomic("pg"), pg.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} (id) VALUES (1)")
            with contextlib.suppress(DatabaseError):
                cursor.execute("SELECT 1/0")
            transaction.on_commit(lambda: ran.append(1), using="pg")

    assert served(view).status_code == 200
    assert below_view(trace, *WHAT).splitlines()[0] == (
        "transaction pg ERROR outcome=rolled_back rollback_reason=aborted"
    )
    with pg.cursor() as cursor:
        cursor.execute(f"SELECT count(*) FROM {table}")
        assert cursor.fetchone() == (0,)
    assert ran == [1]


@pytest.mark.postgres
def test_the_connection_is_closed_inside(trace, postgres):
    pg, table = postgres

    def view():
        with transaction.atomic("pg"):
            with pg.cursor() as cursor:
                cursor.execute(f"INSERT INTO {table} (id) VALUES (1)")
            pg.close()

    served(view)
    assert below_view(trace, *WHAT) == (
        f"transaction pg ERROR outcome=rolled_back rollback_reason=connection_closed\n  CLIENT INSERT {table}"
    )
    assert transactions.open_on(pg) is None


@pytest.mark.django_db
def test_a_test_s_own_transaction_is_none(trace):
    """pytest-django runs this inside TestCase."""

    def view():
        with transaction.atomic():
            Group.objects.create(name="a")
            with transaction.atomic():
                Group.objects.create(name="b")

    assert connection.in_atomic_block
    served(view)
    assert below_view(trace, f"{T}outcome") == (
        "transaction default outcome=committed\n"
        "  CLIENT INSERT auth_group\n"
        "  savepoint default outcome=released\n"
        "    CLIENT INSERT auth_group"
    )


def test_errors_of_entering_are_django_s(trace):
    def view():
        with transaction.atomic(), transaction.atomic(durable=True):
            pass

    served(view)
    assert below_view(trace, *WHAT) == "transaction default ERROR outcome=rolled_back rollback_reason=exception"


def test_unsampled_leaves_no_spans_and_no_state():
    seen = []

    def view():
        with transaction.atomic():
            Group.objects.create(name="a")
            held = transactions.open_on(connections["default"])
            seen.append((held.writes, held.site.line))

    provider = TracerProvider(sampler=ALWAYS_OFF)
    handle = clew.setup_tracing(tracer_provider=provider)
    try:
        served(view)
    finally:
        handle.shutdown()
    assert seen == [(1, line_of(view, 1))]
    assert transactions.open_on(connections["default"]) is None


def test_without_a_trace_nothing_is_kept(trace):
    with transaction.atomic():
        assert transactions.open_on(connections["default"]) is None
    assert not trace.spans


def test_undo_restores_the_identical_objects():
    before = vars(transaction.Atomic)["__enter__"], vars(transaction.Atomic)["__exit__"]
    with tracing():
        assert vars(transaction.Atomic)["__enter__"] is not before[0]
    assert (vars(transaction.Atomic)["__enter__"], vars(transaction.Atomic)["__exit__"]) == before
    assert not SEAM.is_installed
