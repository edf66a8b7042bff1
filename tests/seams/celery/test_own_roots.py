"""Roots of clew's own: queries, transactions and findings of the application's code below them are told there."""

from __future__ import annotations

import uuid

import celery.signals
import pytest
from celery import group
from celery.beat import Scheduler
from django.contrib.auth.models import Group
from django.db import transaction

from tests.seams.celery.test_fate import WorkerLostError, _failed, _request

pytestmark = pytest.mark.django_db(transaction=True)

TRANSACTION = ["  transaction default", "    CLIENT INSERT auth_group"]


def write(*_, **__):
    """What a receiver, an error callback or a result backend does; one query of it is asked too often."""
    with transaction.atomic():
        Group.objects.create(name=uuid.uuid4().hex)
    for _ in range(5):
        Group.objects.filter(name="of the callback").first()


def assert_told(trace, name):
    root = trace.named(name)
    assert root.attributes["clew.db.query_count"] == 6
    assert root.attributes["clew.findings"] == ("repeated_query",)
    written = trace.named("transaction default")
    assert written.attributes["django.db.transaction.write_count"] == 1
    assert {span.name for span in trace.spans} >= {name, "INSERT auth_group", "SELECT auth_group"}
    ids = {span.context.span_id for span in trace.spans}
    assert {span.context.trace_id for span in trace.spans} == {root.context.trace_id}
    assert all(span.parent is None or span is root or span.parent.span_id in ids for span in trace.spans)


@pytest.fixture
def _writing_receiver():
    celery.signals.before_task_publish.connect(write, weak=False)
    yield
    celery.signals.before_task_publish.disconnect(write)


def test_what_celery_does_for_a_dead_task(trace, app):
    _failed(_request(app), WorkerLostError("gone"), write)
    assert_told(trace, "lost/add")


@pytest.mark.usefixtures("_writing_receiver")
def test_what_a_canvas_does(trace, app):
    add = app.tasks["add"]
    group([add.s(1, 1), add.s(2, 2)], app=app).apply_async()
    root = trace.named("canvas group")
    assert root.attributes["clew.db.query_count"] == 12
    assert [
        span.attributes["django.db.transaction.write_count"] for span in trace.spans if "transaction" in span.name
    ] == [1, 1]


@pytest.mark.usefixtures("_writing_receiver")
def test_what_an_entry_of_beats_schedule_does(trace, app):
    app.conf.beat_schedule = {"nightly": {"task": "add", "schedule": 1.0, "args": (1, 2)}}
    scheduler = Scheduler(app, lazy=True)
    scheduler.setup_schedule()
    scheduler.apply_async(scheduler.schedule["nightly"], producer=None)
    assert_told(trace, "beat entry nightly")
