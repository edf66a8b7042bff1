"""What was written is lost, and the answer says that all is well."""

from __future__ import annotations

import contextlib

import pytest
from django.contrib.auth.models import Group
from django.db import DatabaseError, IntegrityError, transaction
from django.http import HttpResponse, HttpResponseBadRequest

from tests.celery_site.app import make_app
from tests.detectors.shared import found, said_on, unsampled
from tests.seams.django.test_transaction import line_of, postgres, served  # noqa: F401

pytestmark = [pytest.mark.urls("tests.seams.django.test_transaction"), pytest.mark.django_db(transaction=True)]
TYPE = "rolled_back_but_succeeded"


def refuse():
    raise ValueError("no")


def lose():
    with contextlib.suppress(ValueError), transaction.atomic():
        Group.objects.create(name="a")
        Group.objects.create(name="b")
        refuse()


def test_detects_an_error_that_is_swallowed_around_the_block(trace):
    assert served(lose).status_code == 200
    (finding,) = found(trace, TYPE)
    assert finding.message == (
        "a transaction of 'default' was rolled back by ValueError, yet the request answered 200: its 2 writes are lost"
    )
    assert finding.fix == "let the exception reach the caller, or answer with an error where it is caught"
    assert finding.severity == "warning"
    assert (finding.site.path, finding.site.line) == (__file__, line_of(lose, 1))
    assert said_on(trace, "transaction default") == [TYPE]
    assert trace.named("GET run/").attributes["clew.findings"] == (TYPE,)
    assert trace.named("transaction default").attributes["django.db.transaction.outcome"] == "rolled_back"


def test_detects_an_error_that_is_swallowed_inside(trace):
    def view():
        with transaction.atomic():
            Group.objects.create(name="a")
            with contextlib.suppress(IntegrityError):
                Group.objects.create(name="a")
        return HttpResponse(status=302)

    served(view)
    (finding,) = found(trace, TYPE)
    assert finding.message == (
        "a transaction of 'default' was rolled back because django.db.utils.IntegrityError, caught inside it, "
        "had broken it, yet the request answered 302: its write is lost"
    )
    assert finding.fix.startswith("put what may fail into an atomic() of its own")


@pytest.mark.postgres
def test_detects_what_postgres_silently_rolls_back(trace, postgres):  # noqa: F811
    pg, table = postgres

    def view():
        with transaction.atomic("pg"), pg.cursor() as cursor:
            cursor.execute(f"INSERT INTO {table} (id) VALUES (1)")
            with contextlib.suppress(DatabaseError):
                cursor.execute("SELECT 1/0")

    assert served(view).status_code == 200
    (finding,) = found(trace, TYPE)
    assert "by PostgreSQL in place of the COMMIT" in finding.message


def test_detects_it_in_a_task(trace):
    app = make_app(task_always_eager=True)

    @app.task(name="lose", shared=False)
    def task():
        lose()

    task.delay()
    (finding,) = found(trace, TYPE)
    assert "yet the task succeeded" in finding.message


def test_detects_it_in_an_unsampled_request():
    assert [each.type for each in unsampled(lambda: served(lose))] == [TYPE]


@pytest.mark.parametrize("answer", [HttpResponseBadRequest, lambda: HttpResponse(status=500)])
def test_no_false_positive_for_an_answer_that_says_so(trace, answer):
    def view():
        lose()
        return answer()

    served(view)
    assert not found(trace, TYPE)
    assert trace.named("transaction default").attributes["django.db.transaction.write_count"] == 2


def test_no_false_positive_for_an_error_that_is_not_swallowed(trace):
    def view():
        with transaction.atomic():
            Group.objects.create(name="a")
            raise ValueError("no")

    assert served(view).status_code == 500
    assert not found(trace, TYPE)


def test_no_false_positive_without_a_write(trace):
    def view():
        with contextlib.suppress(ValueError), transaction.atomic():
            list(Group.objects.all())
            raise ValueError("no")

    served(view)
    assert not found(trace, TYPE)


def test_no_false_positive_for_a_savepoint(trace):
    def view():
        with transaction.atomic():
            lose()

    served(view)
    assert not found(trace, TYPE)


def test_no_false_positive_for_what_is_tried_again(trace):
    def view():
        for attempt in range(2):
            with contextlib.suppress(ValueError), transaction.atomic():
                Group.objects.create(name="a")
                if not attempt:
                    raise ValueError("deadlock")

    served(view)
    assert not found(trace, TYPE)
    assert len([span for span in trace.spans if span.name == "transaction default"]) == 2


@pytest.mark.django_db
def test_no_false_positive_for_the_test_s_own_rollback(trace):
    served(lambda: Group.objects.create(name="a") and None)
    assert not found(trace, TYPE)
