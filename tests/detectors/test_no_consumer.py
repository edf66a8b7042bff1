"""`no_consumer`: a task was sent to a queue nobody reads."""

from __future__ import annotations

import pytest

from tests.detectors.served import get
from tests.detectors.shared import found, said_on, unsampled
from tests.seams.celery.test_consumers import (  # noqa: F401 - fixtures
    BOTH,
    ON_RABBITMQ,
    TYPE,
    ask,
    broker,
    forgetful,
    here,
    until,
    worker,
)
from tests.seams.django.test_transaction import line_of

pytestmark = pytest.mark.django_db


@ON_RABBITMQ
def test_detects_a_queue_nobody_reads(here, trace):  # noqa: F811
    def view():
        here.app.send_task("shop.tasks.mail", queue=f"{here.queue}.other")

    get(view, "mail/")
    (finding,) = found(trace, TYPE)
    assert finding.message == f"nobody reads queue '{here.queue}.other': shop.tasks.mail will not run"
    assert finding.fix == (
        f"start a worker that reads it: `celery -A <app> worker -Q {here.queue}.other`, "
        "or route the task to a queue that is read"
    )
    assert finding.severity == "warning"
    assert finding.site.line == line_of(view, 1)
    assert said_on(trace, "apply_async/shop.tasks.mail") == [TYPE]
    assert trace.named("GET mail/").attributes["clew.findings"] == (TYPE,)
    assert trace.named("GET mail/").attributes["clew.no_consumer.count"] == 1


@ON_RABBITMQ
def test_detects_it_once_for_each_queue_of_a_request(here, trace):  # noqa: F811
    def view():
        for _ in range(3):
            here.publish()
            here.publish(queue=f"{here.queue}.other")

    get(view)
    assert [(each.evidence["queue"], each.evidence["count"]) for each in found(trace, TYPE)] == [
        (here.queue, 3),
        (f"{here.queue}.other", 3),
    ]


@ON_RABBITMQ
def test_detects_every_task_that_was_sent_there(here, trace):  # noqa: F811
    def view():
        for name in ("shop.mail", "shop.call", "shop.mail"):
            here.app.send_task(name, queue=f"{here.queue} other")

    get(view)
    (finding,) = found(trace, TYPE)
    assert finding.message.endswith(": shop.mail and shop.call will not run")
    assert f"worker -Q '{here.queue} other'`" in finding.fix
    assert (finding.evidence["task_names"], finding.evidence["count"]) == (("shop.mail", "shop.call"), 3)


@ON_RABBITMQ
def test_detects_it_in_an_unsampled_request(here):  # noqa: F811
    assert [each.type for each in unsampled(lambda: get(here.publish))] == [TYPE]


@ON_RABBITMQ
def test_nothing_of_the_arguments_is_recorded(here, trace):  # noqa: F811
    get(lambda: here.app.send_task("add", ("hunter2",)))
    assert found(trace, TYPE)
    assert "hunter2" not in "".join(span.to_json() for span in trace.spans)


@BOTH
def test_no_false_positive_where_a_worker_reads(here, trace, forgetful, tmp_path):  # noqa: F811
    with worker(here, tmp_path):
        until(lambda: ask(here))
        trace.clear()
        for _ in range(3):
            get(here.request)
    assert not found(trace, TYPE)


@ON_RABBITMQ
def test_no_false_positive_for_an_eager_task(here, trace):  # noqa: F811
    here.app.conf.task_always_eager = True
    get(lambda: here.app.tasks["add"].delay(1, 2))
    assert not found(trace, TYPE)
