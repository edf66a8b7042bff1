"""Headers that nobody's Celery has written: a run of each is told as any other, with integers where integers belong."""

from __future__ import annotations

import uuid

import pytest
from celery.app.task import Context
from celery.app.trace import build_tracer
from celery.contrib.testing.worker import start_worker
from celery.signals import before_task_publish

from clew.export import encoding
from clew.seams.celery.message import headers
from clew.seams.celery.message.attempts import origin_of
from tests.celery_site.app import make_app
from tests.celery_site.worker import DEADLINE
from tests.seams.celery.test_run import until


class Hostile:
    def __str__(self) -> str:
        raise RuntimeError("must not leave")


HOSTILE = [
    None, "", "x", "3", "-1", "9" * 5000, "x" * 100_000, b"ab", b"\xff" * 9000, 0, -1, True, 1 << 31, 1 << 70,
    10**5000, 1.5, float("inf"), {}, {"a": 1}, [], ["x"] * 3, [None], ("a", 1, None, {}), {1, 2}, Hostile(), object(),
]  # fmt: skip
READ = [
    "retries", "id", "root_id", "parent_id", "group", "group_index", "eta", "expires", "origin", "correlation_id",
    "reply_to", "compression", "hostname", "timelimit", "delivery_info", "replaced_task_nesting", "headers", "kwargs",
    "traceparent", "tracestate", "baggage", headers.PUBLISHED_AT, headers.ATTEMPTS, headers.CHORD, headers.RECEIVED,
    headers.FAN_OUT, "clew-published-in-transaction",
]  # fmt: skip
# What Celery itself reads before and after the task runs, and cannot do without.
NEEDED_BY_CELERY = {"id", "headers", "kwargs", "delivery_info"}
INTEGERS = {"celery.retries", "celery.group_index", "celery.max_retries", "celery.run_number", "celery.chord.size"}


def forged_run(app, name, value):
    task = app.tasks["add"]
    request = {"id": str(uuid.uuid4()), "delivery_info": {"exchange": "", "routing_key": "q"}, name: value}
    return build_tracer(task.name, task, app=app)(request["id"], (1, 2), {}, request).retval


def assert_sound(span):
    assert all(type(value) in (str, int, float, bool, tuple) for value in span.attributes.values())
    for name, value in span.attributes.items():
        assert (type(value) is int and 0 <= value < 1 << 31) == (name in INTEGERS) or name not in INTEGERS, (
            name,
            value,
        )
        if name.endswith("_ms"):
            assert 0 <= value < 1e14
    assert sum(len(str(value)) for value in span.attributes.values()) < 5000
    _, _, data = encoding.encode(span)
    assert len(data) < 10_000


@pytest.mark.parametrize("name", sorted({*READ} - NEEDED_BY_CELERY))
def test_a_run_with_a_forged_header_is_told_as_any_other(trace, app, name):
    for value in HOSTILE:
        assert forged_run(app, name, value) == 3
    runs = [span for span in trace.spans if span.name == "run/add"]
    assert [span.attributes["celery.outcome"] for span in runs] == ["succeeded"] * len(HOSTILE)
    for span in runs:
        assert_sound(span)
        assert span.parent is None or name in ("traceparent", "tracestate")
        assert all(link.context.is_valid for link in span.links)


@pytest.mark.parametrize("name", READ)
def test_where_a_forged_message_comes_from_is_asked_without_an_error(trace, app, name):
    for value in HOSTILE:
        attributes = {}
        origin = origin_of(Context({"id": "one", "headers": None, name: value}), attributes)
        assert origin.first is None or origin.first.is_valid
        assert all(type(each) in (str, int, bool) for each in attributes.values())


def test_a_run_that_fails_says_so_whatever_its_message_calls_the_number_of_its_retries(trace, app):
    task = app.tasks["fail"]
    for value in HOSTILE:
        build_tracer(task.name, task, app=app)("one", (), {}, {"id": "one", "retries": value})
    assert [span.attributes["celery.outcome"] for span in trace.spans] == ["failed"] * len(HOSTILE)
    assert {span.attributes.get("celery.retries", 0) for span in trace.spans} == {0}


@pytest.mark.parametrize(
    "text", ["1:2:3:4", f"{1 << 70}:0:1:1:1", "1:-1:1:1:1", f"1:0:{'f' * 40}:1:1", "1:0:-1:1:1", "1:0:1:1:0"]
)
def test_a_forged_delivery_is_none(text):
    assert headers.read_received(text) is None


@pytest.mark.parametrize(
    "text", [f"{'-1'.rjust(32, '0')}{'1' * 16}01", f"{'1' * 32}{'1' * 16}-1", f"{'G' * 32}{'1' * 16}01"]
)
def test_forged_attempts_are_none(text):
    assert headers.read_attempts(f"{text},{text}") == (None, None)


def test_a_worker_tells_of_forged_messages_of_tasks_it_has_and_has_not(trace):
    """Through the worker's main process, too: what a broker can carry, in the headers that Celery copes with."""
    app = make_app(queue=f"clew-{uuid.uuid4().hex[:12]}")
    forgeable = ["retries", "group_index", "replaced_task_nesting", "root_id", "parent_id", "group", "origin"]
    carried = ["x" * 1000, -1, 1 << 70, {"a": 1}, [None], 1.5]
    held = {}

    def forge(headers=None, **_):
        headers.update(held)

    before_task_publish.connect(forge)
    try:
        with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=DEADLINE):
            for value in carried:
                held = dict.fromkeys(forgeable, value)
                app.send_task("add", (1, 2))
                app.send_task("nobody's", (1, 2))
            until(lambda: len([span for span in trace.spans if span.kind.name == "CONSUMER"]) >= 2 * len(carried))
    finally:
        before_task_publish.disconnect(forge)
    told = [span for span in trace.spans if span.kind.name == "CONSUMER"]
    assert sorted({span.name for span in told}) == ["run/add", "unknown/nobody's"]
    for span in told:
        assert_sound(span)
