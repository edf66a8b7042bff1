"""Attempts of one task are siblings below the first publish, each linked to the one before."""

from __future__ import annotations

import itertools
import uuid

import pytest
from celery.app.task import Context
from celery.contrib.testing.worker import start_worker
from celery.exceptions import Retry
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags

from clew.seams.celery.message import attempts
from clew.seams.celery.message.headers import read_attempts, write_attempts
from tests.celery_site.app import make_app
from tests.celery_site.worker import DEADLINE
from tests.seams.celery import ends
from tests.seams.celery.conftest import is_error, upstream
from tests.seams.celery.in_process import links, ran, runs_of, until


@pytest.fixture(scope="module")
def app():
    app = make_app(queue=f"clew-{uuid.uuid4().hex[:12]}")
    ends.declare(app)
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=DEADLINE):
        yield app


@pytest.fixture
def eager():
    app = make_app(task_always_eager=True)
    ends.declare(app)
    return app


@pytest.mark.parametrize("protocol", [2, 1])
def test_attempts_are_siblings_below_the_first_publish(trace, app, protocol):
    """docs/upstream.md, celery 6: contrib nests publish below run below publish."""
    app.conf.task_protocol = protocol
    app.amqp.__dict__.pop("create_task_message", None)
    try:
        first, second, third = ran(trace, lambda: app.tasks["again"].delay(2), "again", 3)
    finally:
        app.conf.task_protocol = 2
        app.amqp.__dict__.pop("create_task_message", None)
    assert trace.tree("celery.outcome").splitlines() == [
        "PRODUCER apply_async/again",
        "  CONSUMER run/again outcome=retried",
        "    PRODUCER apply_async/again",
        "  CONSUMER run/again outcome=retried",
        "    PRODUCER apply_async/again",
        "  CONSUMER run/again outcome=succeeded",
    ]
    sent = [
        span.context.span_id
        for span in sorted(trace.spans, key=lambda each: each.start_time)[::1]
        if span.name == "apply_async/again"
    ]
    assert links(first) == [("publish", sent[0])]
    assert links(second) == [
        ("first_publish", sent[0]),
        ("publish", sent[1]),
        ("previous_attempt", first.context.span_id),
    ]
    assert links(third) == [
        ("first_publish", sent[0]),
        ("publish", sent[2]),
        ("previous_attempt", second.context.span_id),
    ]
    assert third.attributes["celery.previous_attempt.span_id"] == f"{second.context.span_id:016x}"
    assert third.attributes["celery.publish.span_id"] == f"{sent[2]:016x}"


def test_upstream_alone_nests_them(app):
    """docs/upstream.md, celery 6, upstream alone."""
    with upstream() as spans:
        app.tasks["again"].delay(1)
        until(lambda: len(runs_of(spans(), "again")) >= 2)
        first, second = runs_of(spans(), "again")
    assert first.parent.span_id != second.parent.span_id


@pytest.mark.parametrize(
    ("name", "outcomes", "error", "limit"),
    [
        ("manual", ["retried", "failed"], "celery.exceptions.MaxRetriesExceededError", 1),
        ("manual with exc", ["retried", "failed"], "KeyError", 1),
        ("automatic", ["retried", "retried", "failed"], "ConnectionError", 2),
        ("backing off", ["retried", "succeeded"], None, 3),
        ("endless", ["retried", "succeeded"], None, None),
    ],
)
def test_every_way_to_retry(trace, app, name, outcomes, error, limit):
    runs = ran(trace, app.tasks[name].delay, name, len(outcomes))
    assert [run.attributes["celery.outcome"] for run in runs] == outcomes
    assert [run.attributes.get("celery.retries", 0) for run in runs] == list(range(len(outcomes)))
    assert {run.attributes.get("celery.max_retries") for run in runs} == {limit}
    assert len({run.parent.span_id for run in runs}) == 1
    for before, run in itertools.pairwise(runs):
        assert links(run)[-1] == ("previous_attempt", before.context.span_id)
    assert [is_error(run) for run in runs] == [False] * (len(runs) - 1) + [error is not None]
    assert runs[-1].attributes.get("error.type") == error
    assert runs[-1].attributes.get("celery.retries_exhausted") is (True if error else None)
    for run in runs[:-1]:
        assert [event.name for event in run.events] == ["exception"]
        assert "celery.retry.delay_ms" in run.attributes


def test_link_mode_links_attempts_of_traces_of_their_own(app):
    from clew.testing import tracing

    with tracing(task_parent="link") as trace:
        first, second = ran(trace, lambda: app.tasks["again"].delay(1), "again", 2)
    assert first.parent is None
    assert second.parent is None
    assert first.context.trace_id != second.context.trace_id
    assert links(second)[-1] == ("previous_attempt", first.context.span_id)


def test_eager_attempts_are_siblings_too(trace, eager):
    eager.tasks["again"].delay(2)
    runs = runs_of(trace.spans, "again")
    assert trace.tree("celery.outcome").splitlines() == [
        "PRODUCER apply_async/again",
        "  CONSUMER run/again outcome=retried",
        "  CONSUMER run/again outcome=retried",
        "  CONSUMER run/again outcome=succeeded",
    ]
    assert links(runs[2]) == [("previous_attempt", runs[1].context.span_id)]


def test_what_else_a_run_sends_is_no_attempt(trace, app):
    """Neither another task nor the same one anew."""
    ran(trace, app.tasks["sends itself"].delay, "sends itself", 2)
    assert trace.tree().splitlines() == [
        "PRODUCER apply_async/sends itself",
        "  CONSUMER run/sends itself",
        "    PRODUCER apply_async/sends itself",
        "      CONSUMER run/sends itself",
    ]


def test_headers_a_site_gives_on_do_not_make_an_attempt_of_another_task(trace, app, eager):
    """`headers=self.request.headers` brings ours along."""
    eager.tasks["passes headers on"].delay()
    assert trace.tree("celery.outcome").splitlines() == [
        "PRODUCER apply_async/passes headers on",
        "  CONSUMER run/passes headers on outcome=retried",
        "  CONSUMER run/passes headers on outcome=succeeded",
        "    PRODUCER apply_async/add",
        "      CONSUMER run/add outcome=succeeded",
    ]
    trace.clear()
    ran(trace, lambda: app.tasks["passes headers on"].delay(), "add")
    (run,) = runs_of(trace.spans, "add")
    assert [kind for kind, _ in links(run)] == ["publish"]


def test_a_retry_sent_on_behalf_of_a_dead_run_is_its_attempt():
    span = NonRecordingSpan(SpanContext(7, 8, False, TraceFlags(1)))
    assert attempts.attempts_header("id", 1) is None
    with attempts.attempting(Context({"id": "id"}), SpanContext(7, 9, False, TraceFlags(1)), span):
        first, previous = read_attempts(attempts.attempts_header("id", 1))
        assert attempts.attempts_header("id", 0) is None
        assert attempts.attempts_header("other", 1) is None
    assert (first.span_id, previous.span_id, previous.trace_id) == (9, 8, 7)
    assert attempts.attempts_header("id", 1) is None


@pytest.mark.parametrize("text", [None, "", ",", "x" * 101, 7, "a,b", f"{'0' * 50},{'0' * 50}"])
def test_a_header_of_somebody_elses_is_nothing(text):
    assert read_attempts(text) == (None, None)


def test_a_first_attempt_without_a_publish_is_known_by_its_successor():
    previous = SpanContext(7, 8, False, TraceFlags(1))
    first, read = read_attempts(write_attempts(None, previous))
    assert first is None
    assert (read.trace_id, read.span_id) == (7, 8)


def test_the_signature_of_an_eager_retry_stays_as_celery_made_it(trace):
    seen = []

    @make_app().task(name="keeps", bind=True, shared=False, max_retries=1, default_retry_delay=0)
    def keeps(task):
        try:
            raise task.retry()
        except Retry as retry:
            seen.append(retry.sig)
            raise

    keeps.apply(headers={"mine": "1"})
    runs = runs_of(trace.spans, "keeps")
    assert [run.attributes["celery.outcome"] for run in runs] == ["retried", "failed"]
    assert links(runs[1]) == [("previous_attempt", runs[0].context.span_id)]
    assert [sig.options["headers"] for sig in seen] == [{"mine": "1"}]
