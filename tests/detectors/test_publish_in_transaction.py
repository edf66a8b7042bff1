"""A task is sent before the transaction it depends on is committed."""

from __future__ import annotations

import contextlib
import functools
import time
import uuid

import pytest
from celery import Task
from celery.contrib.testing.worker import start_worker
from django.contrib.auth.models import Group
from django.db import transaction
from django.http import Http404

from tests.celery_site.app import make_app
from tests.celery_site.worker import DEADLINE
from tests.detectors.shared import found, said_on, unsampled
from tests.seams.django.test_transaction import line_of, postgres, served  # noqa: F401

pytestmark = [pytest.mark.urls("tests.seams.django.test_transaction"), pytest.mark.django_db(transaction=True)]
TYPE = "publish_in_transaction"


@pytest.fixture
def app():
    return make_app(queue=f"clew-{uuid.uuid4().hex[:12]}")


def test_detects_a_task_that_is_sent_after_a_write(trace, app):
    def view():
        with transaction.atomic():
            group = Group.objects.create(name="a")
            app.tasks["add"].delay(group.pk, 1)

    served(view)
    (finding,) = found(trace, TYPE)
    assert finding.message == (
        "add is sent inside an open transaction of 'default', "
        f"opened at detectors/test_publish_in_transaction.py:{line_of(view, 1)}: "
        "it may run before the commit, without seeing what it has written"
    )
    assert finding.fix.endswith("transaction.on_commit(functools.partial(app.tasks['add'].delay, group.pk, 1))")
    assert finding.severity == "warning"
    assert (finding.site.path, finding.site.line) == (__file__, line_of(view, 3))
    publish = trace.named("apply_async/add")
    assert publish.attributes["celery.published_in_transaction"] == "default"
    assert said_on(trace, "apply_async/add") == [TYPE]


def send_invoice(order_id):
    pass


class OfATenant(Task):
    """The application's own, through which all its tasks are sent."""

    def apply_async(self, args=None, kwargs=None, **options):
        return super().apply_async(args, kwargs, **{**options, "headers": {"tenant": "one"}})


def test_the_line_is_who_sends_and_not_the_base_class_it_sends_through(trace, app):
    task = app.task(name="of_a_tenant", base=OfATenant, shared=False)(send_invoice)

    def view():
        with transaction.atomic():
            group = Group.objects.create(name="a")
            task.delay(group.pk)

    served(view)
    (finding,) = found(trace, TYPE)
    assert finding.site.line == line_of(view, 3)
    assert finding.fix.endswith("transaction.on_commit(functools.partial(task.delay, group.pk))")


@pytest.mark.postgres
def test_the_fix_names_the_database_whose_commit_it_waits_for(trace, app, postgres):  # noqa: F811
    def view():
        with transaction.atomic("pg"):
            app.tasks["add"].delay(1, 1)

    def mended():
        with transaction.atomic("pg"):
            transaction.on_commit(functools.partial(app.tasks["add"].delay, 1, 1), using="pg")

    served(view)
    (finding,) = found(trace, TYPE)
    assert finding.fix == (
        "send it after the commit: transaction.on_commit(functools.partial(app.tasks['add'].delay, 1, 1), using='pg')"
    )
    trace.clear()
    served(mended)
    assert not found(trace, TYPE)
    assert trace.named("apply_async/add")


def test_detects_a_loop_once(trace, app):
    def view():
        with transaction.atomic():
            for number in range(5):
                app.tasks["add"].delay(number, 1)

    served(view)
    assert [each.evidence["count"] for each in found(trace, TYPE)] == [5]


def test_detects_it_as_information_before_anything_is_written(trace, app):
    def view():
        with transaction.atomic():
            app.tasks["add"].delay(1, 1)

    served(view)
    assert [each.severity for each in found(trace, TYPE)] == ["information"]


def test_detects_a_rollback_afterwards(trace, app):
    def view():
        with contextlib.suppress(ValueError), transaction.atomic():
            app.tasks["add"].delay(1, 1)
            raise ValueError("no")

    served(view)
    (finding,) = found(trace, TYPE)
    assert finding.severity == "warning"
    assert finding.message.endswith("; and that transaction was rolled back")
    assert said_on(trace, "transaction default").count(TYPE) == 1  # a slow broker makes it io_in_transaction, too


def test_detects_it_with_autocommit_off(trace, app):
    def view():
        transaction.set_autocommit(False)
        try:
            app.tasks["add"].delay(0, 0)
            Group.objects.create(name="a")
            app.tasks["add"].delay(1, 1)
            transaction.commit()
        finally:
            transaction.set_autocommit(True)

    served(view)
    assert [each.site.line for each in found(trace, TYPE)] == [line_of(view, 5)]


def test_detects_it_in_an_unsampled_request(app):
    def view():
        with transaction.atomic():
            app.tasks["add"].delay(1, 1)

    assert [each.type for each in unsampled(lambda: served(view))] == [TYPE]


@pytest.mark.django_db
def test_detects_it_inside_a_test_s_transaction(trace, app):
    def view():
        with transaction.atomic():
            app.tasks["add"].delay(1, 1)

    served(view)
    assert len(found(trace, TYPE)) == 1


def run_in_transaction(trace, app, name, in_transaction=True):
    """Send it inside a transaction to a worker in this process; gives its run's span."""
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=DEADLINE):

        def view():
            with transaction.atomic() if in_transaction else contextlib.nullcontext():
                app.tasks[name].delay()

        served(view)
        end = time.monotonic() + DEADLINE
        while not any(span.name == f"run/{name}" for span in trace.spans):
            assert time.monotonic() < end
            time.sleep(0.01)
    return trace.named(f"run/{name}")


@pytest.fixture
def failing(app, settings):
    @app.task(name="shop.missing", shared=False)
    def missing():
        Group.objects.get(pk=4711)

    @app.task(name="shop.missing_404", shared=False)
    def missing_404():
        try:
            Group.objects.get(pk=4711)
        except Group.DoesNotExist as error:
            raise Http404 from error

    @app.task(name="shop.retried", bind=True, max_retries=1, shared=False)
    def retried(self):
        try:
            Group.objects.get(pk=4711)
        except Group.DoesNotExist as error:
            raise self.retry(exc=error, countdown=100) from None

    @app.task(name="shop.other", shared=False)
    def other():
        list(Group.objects.all())
        raise ValueError("no")

    missing.place = missing.run.__code__.co_firstlineno + 2
    return app


@pytest.mark.parametrize("name", ["shop.missing", "shop.missing_404", "shop.retried"])
def test_detects_the_run_that_found_no_row(trace, failing, name):
    span = run_in_transaction(trace, failing, name)
    assert said_on(trace, span.name) == [TYPE]
    event = next(each for each in span.events if each.name == "clew.finding.publish_in_transaction")
    assert event.attributes["clew.finding.about"] == (
        f"{name} was sent before its transaction of 'default' was committed; the row was not there yet "
        "(Group.DoesNotExist)"
    )
    assert event.attributes["code.file.path"] == __file__
    if name == "shop.missing":
        assert event.attributes["code.line.number"] == failing.tasks[name].place
    assert span.attributes["celery.published_in_transaction"] == "default"


def test_no_false_positive_for_a_run_that_failed_otherwise(trace, failing):
    assert said_on(trace, run_in_transaction(trace, failing, "shop.other").name) == []


def test_no_false_positive_for_a_missing_row_of_a_task_sent_outside(trace, failing):
    span = run_in_transaction(trace, failing, "shop.missing", in_transaction=False)
    assert said_on(trace, span.name) == []
    assert "celery.published_in_transaction" not in span.attributes


def test_no_false_positive_for_on_commit(trace, app):
    def view():
        with transaction.atomic():
            Group.objects.create(name="a")
            transaction.on_commit(functools.partial(app.tasks["add"].delay, 1, 1))

    served(view)
    assert not found(trace, TYPE)
    assert "celery.published_in_transaction" not in trace.named("apply_async/add").attributes


@pytest.mark.django_db
def test_no_false_positive_in_a_test_s_own_transaction(trace, app):
    served(lambda: app.tasks["add"].delay(1, 1) and None)
    assert not found(trace, TYPE)


def test_no_false_positive_outside_a_transaction(trace, app):
    def view():
        Group.objects.create(name="a")
        app.tasks["add"].delay(1, 1)

    served(view)
    assert not found(trace, TYPE)
