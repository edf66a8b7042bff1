"""Many sends of one task from one line: one PRODUCER span, every run linked to it, no trace of thousands."""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections import Counter
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from celery import chain, chord, group
from celery.contrib.testing.worker import start_worker
from celery.signals import before_task_publish
from django.db import transaction
from kombu import Producer
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ParentBased, TraceIdRatioBased
from opentelemetry.trace import SpanKind, get_current_span

import clew
from clew.seams.celery.message.headers import Place, read_place
from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.celery_site.worker import DEADLINE
from tests.seams.celery import ends
from tests.seams.celery.in_process import links, runs_of, until
from tests.seams.celery.test_publish import messages

SEPARATE = 10
MANY = 40


@contextlib.contextmanager
def working(**conf):
    """An app whose worker runs in a thread of this process."""
    app = make_app(queue=f"clew-{uuid.uuid4().hex[:12]}", **conf)
    ends.declare(app)

    @app.task(name="loop", shared=False)
    def loop(count):
        for number in range(count):
            app.tasks["add"].delay(number, 1)

    @app.task(name="noted", shared=False)
    def noted(number):
        app.ran.append(number)

    app.ran = []
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=DEADLINE):
        yield app


@pytest.fixture(scope="module")
def app():
    with working(backend="cache+memory://") as app:
        yield app


@pytest.fixture
def queued():
    """An app whose messages nobody takes."""
    return make_app(queue=f"clew-{uuid.uuid4().hex[:12]}")


def sent_from_a_root(publish):
    with otel.get_tracer("test").start_as_current_span("root"):
        publish()


def publishes(trace, name="add"):
    found = [span for span in trace.spans if span.name == f"apply_async/{name}" and span.kind is SpanKind.PRODUCER]
    return sorted(found, key=lambda span: span.start_time)


def folded(trace, name="add"):
    """The one publish span that stands for others."""
    (found,) = [span for span in publishes(trace, name) if "clew.folded.count" in span.attributes]
    return found


def assert_linked(trace, runs, name="add"):
    """Each run is linked to a publish that is there, and is below it or the first of a trace."""
    known = {span.context.span_id: span for span in publishes(trace, name)}
    for run in runs:
        ((kind, publish),) = links(run)
        assert kind == "publish"
        assert run.attributes["celery.publish.span_id"] == f"{known[publish].context.span_id:016x}"
        if run.attributes.get("clew.fan_out.own_trace"):
            assert run.parent is None
            assert run.context.trace_id != known[publish].context.trace_id
        else:
            assert run.parent.span_id == publish


def all_ran(trace, count, name="add"):
    until(lambda: len(runs_of(trace.spans, name)) >= count)
    return runs_of(trace.spans, name)


WAYS = {
    "delay": lambda add: [add.delay(number, 1) for number in range(MANY)],
    "apply_async": lambda add: [add.apply_async((number, 1), countdown=0) for number in range(MANY)],
    "send_task": lambda add: [add.app.send_task("add", (number, 1)) for number in range(MANY)],
    "signature": lambda add: [add.s(number, 1).delay() for number in range(MANY)],
    "group": lambda add: group([add.s(number, 1) for number in range(MANY)], app=add.app).delay(),
    "generator": lambda add: group((add.s(number, 1) for number in range(MANY)), app=add.app).delay(),
    "chain": lambda add: [chain(add.s(number, 1), add.s(1), app=add.app).delay() for number in range(MANY)],
}


@pytest.mark.parametrize("protocol", [2, 1])
@pytest.mark.parametrize("way", WAYS)
def test_however_they_are_sent_they_are_one_span(queued, way, protocol):
    queued.conf.task_protocol = protocol
    with tracing() as trace:
        sent_from_a_root(lambda: WAYS[way](queued.tasks["add"]))
        found, sent = publishes(trace), messages(queued, MANY)
        span = folded(trace)
    assert len(found) == SEPARATE + 1
    ids = [(body if protocol == 1 else headers)["id"] for headers, body in sent]
    assert len(set(ids)) == MANY
    assert span.attributes["clew.folded.count"] == MANY - SEPARATE
    assert span.attributes["clew.fan_out.first_message_id"] == span.attributes["messaging.message.id"] == ids[SEPARATE]
    assert span.attributes["clew.fan_out.last_message_id"] == ids[-1]
    assert span.attributes["clew.fan_out.body_size"] > 0
    assert "clew.fan_out.own_traces" not in span.attributes
    carried = Counter(headers["traceparent"].split("-")[2] for headers, _ in sent)
    assert carried == {f"{each.context.span_id:016x}": 1 for each in found} | {
        f"{span.context.span_id:016x}": MANY - SEPARATE
    }
    assert [headers.get("clew-fan-out") for headers, _ in sent] == [None] * SEPARATE + [
        f"{position}:0" for position in range(SEPARATE + 1, MANY + 1)
    ]


def test_a_handful_stays_as_it_was(queued):
    with tracing() as trace:
        sent_from_a_root(lambda: [queued.tasks["add"].delay(number, 1) for number in range(SEPARATE + 1)])
        found = publishes(trace)
    assert len(found) == SEPARATE + 1
    assert not [key for span in found for key in span.attributes if key.startswith(("clew.folded", "clew.fan_out"))]


@pytest.mark.parametrize("task_parent", ["parent", "link"])
def test_beyond_the_limit_a_run_begins_a_trace_of_its_own(app, task_parent):
    with tracing(fan_out=15, task_parent=task_parent) as trace:
        sent_from_a_root(lambda: [app.tasks["add"].delay(number, 1) for number in range(MANY)])
        runs = all_ran(trace, MANY)
        span = folded(trace)
    by_position = {run.attributes.get("clew.fan_out.position"): run for run in runs}
    if task_parent == "parent":
        assert_linked(trace, runs)
        own = [run for run in runs if run.parent is None]
        assert len(own) == span.attributes["clew.fan_out.own_traces"] == MANY - 15
        assert {run.attributes["clew.fan_out.position"] for run in own} == set(range(16, MANY + 1))
        assert len({run.context.trace_id for run in own}) == MANY - 15
    else:
        assert all(run.parent is None and len(run.links) == 1 for run in runs)
    assert set(range(SEPARATE + 1, MANY + 1)) <= set(by_position)


def test_sent_by_a_task(app):
    with tracing(fan_out=15) as trace:
        app.tasks["loop"].delay(MANY)
        runs = all_ran(trace, MANY)
        until(lambda: runs_of(trace.spans, "loop"))
        assert_linked(trace, runs)
        (sender,) = runs_of(trace.spans, "loop")
        assert folded(trace).parent.span_id == sender.context.span_id
    assert len([run for run in runs if run.parent is None]) == MANY - 15


def test_one_of_many_has_no_hundreds_below_it(app):
    """Else 200 tasks that send 200 each were one trace after all."""
    with tracing() as trace:
        sent_from_a_root(lambda: [app.tasks["loop"].delay(SEPARATE + 2) for _ in range(SEPARATE + 1)])
        runs = all_ran(trace, (SEPARATE + 1) * (SEPARATE + 2))
        until(lambda: len(runs_of(trace.spans, "loop")) == SEPARATE + 1)
        assert_linked(trace, runs)
    assert Counter(run.attributes.get("clew.fan_out.own_trace", False) for run in runs) == {
        False: (SEPARATE + 1) * (SEPARATE + 2) - 2,
        True: 2,
    }


def test_attempts_of_a_run_with_a_trace_of_its_own_are_in_that_trace(app):
    with tracing(fan_out=0) as trace:
        sent_from_a_root(lambda: [app.tasks["again"].delay(2) for _ in range(SEPARATE + 1)])
        runs = all_ran(trace, 3 * (SEPARATE + 1), "again")
    (first,) = [run for run in runs if run.parent is None]
    own = [span for span in trace.spans if span.context.trace_id == first.context.trace_id]
    assert sorted(span.name for span in own) == ["apply_async/again"] * 2 + ["run/again"] * 3
    assert Counter(run.attributes["celery.outcome"] for run in runs) == {
        "retried": 2 * (SEPARATE + 1),
        "succeeded": SEPARATE + 1,
    }


def test_a_chords_body_is_linked_to_its_header_wherever_its_runs_are(app):
    with tracing(fan_out=15) as trace:
        add, total = app.tasks["add"], app.tasks["total"]
        sent_from_a_root(lambda: chord([add.s(number, 1) for number in range(MANY)], total.s(), app=app).delay())
        (body,) = all_ran(trace, 1, "total")
        runs = all_ran(trace, MANY)
        assert_linked(trace, runs)
    header = {(run.context.trace_id, run.context.span_id) for run in runs}
    linked = {
        (link.context.trace_id, link.context.span_id) for link in body.links if "chord" in link.attributes["clew.link"]
    }
    assert linked == header


def test_chunks_and_chains_of_groups(app):
    with tracing(fan_out=15) as trace:
        add = app.tasks["add"]
        canvas = chain(group([add.s(number, 1) for number in range(12)]), app.tasks["total"].s(), app=app)
        sent_from_a_root(lambda: (canvas.delay(), add.chunks([(1, 1)] * 24, 2).apply_async()))
        assert_linked(trace, all_ran(trace, 12))
        assert_linked(trace, all_ran(trace, 12, "celery.starmap"), "celery.starmap")
        all_ran(trace, 1, "total")


def test_a_group_outside_of_any_span_folds_below_its_canvas(queued):
    with tracing() as trace:
        group([queued.tasks["add"].s(number, 1) for number in range(MANY)], app=queued).delay()
        assert folded(trace).parent.span_id == trace.named("canvas group").context.span_id
        assert len(trace.spans) == SEPARATE + 2


def test_a_script_without_a_span_is_a_trace_for_each(queued):
    with tracing() as trace:
        for number in range(MANY):
            queued.tasks["add"].delay(number, 1)
        assert len({span.context.trace_id for span in publishes(trace)}) == MANY


def test_other_tasks_lines_and_queues_are_not_folded_together(queued):
    def publish():
        for number in range(SEPARATE + 2):
            queued.tasks["add"].delay(number, 1)
            queued.tasks["add"].delay(number, 2)
            queued.tasks["nap"].delay(number)
        for number in range(3):
            for queue in ("one", "two"):
                queued.tasks["add"].apply_async((number, 1), queue=f"{queued.conf.task_default_queue}-{queue}")

    with tracing() as trace:
        sent_from_a_root(publish)
        counts = [span.attributes.get("clew.folded.count") for span in publishes(trace)]
        assert counts == [None] * SEPARATE + [7, 7, 3, 3]
        assert [span.attributes.get("clew.folded.count") for span in publishes(trace, "nap")][-1] == 2


def test_below_spans_of_the_application_they_are_one_all_the_same(queued):
    def publish():
        for number in range(MANY):
            with otel.get_tracer("user").start_as_current_span("item"):
                queued.tasks["add"].delay(number, 1)
                assert get_current_span().is_recording()

    with tracing() as trace:
        sent_from_a_root(publish)
        assert folded(trace).attributes["clew.folded.count"] == MANY - SEPARATE


@pytest.mark.django_db(transaction=True)
def test_on_commit_hooks_of_a_loop(queued):
    def publish():
        with transaction.atomic():
            for number in range(MANY):
                transaction.on_commit(partial(queued.tasks["add"].delay, number, 1))

    with tracing() as trace:
        sent_from_a_root(publish)
        assert folded(trace).attributes["clew.folded.count"] == MANY - SEPARATE


@pytest.mark.parametrize("failing", [SEPARATE, SEPARATE + 5, MANY - 1])
def test_one_that_fails_is_a_span_of_its_own_with_its_error(queued, failing):
    mine = RuntimeError("broker")

    class Refusing(Producer):
        def publish(self, *args, **kwargs):
            raise mine

    def publish():
        with queued.connection() as connection:
            for number in range(MANY):
                how = {"producer": Refusing(connection.default_channel)} if number == failing else {}
                with pytest.raises(RuntimeError) if how else contextlib.nullcontext() as raised:
                    queued.tasks["add"].apply_async((number, 1), **how)
                assert not how or raised.value is mine

    with tracing() as trace:
        sent_from_a_root(publish)
        (failed,) = [span for span in publishes(trace) if span.status.status_code.name == "ERROR"]
        assert [event.name for event in failed.events] == ["exception"]
        assert "clew.folded.count" not in failed.attributes
        assert folded(trace).attributes["clew.folded.count"] == MANY - SEPARATE - 1
        carried = {headers["traceparent"].split("-")[2] for headers, _ in messages(queued, MANY - 1)}
    assert carried == {f"{span.context.span_id:016x}" for span in publishes(trace)} - {f"{failed.context.span_id:016x}"}


def test_a_send_that_something_hangs_on_stays_a_span(queued):
    """Its id is out: whatever is below it must find its parent."""

    def look(**_):
        with otel.get_tracer("user").start_as_current_span("receiver"):
            pass

    # A weak one that dies has Celery 5.3 make a new list of receivers, which an app that holds the old one never asks.
    before_task_publish.connect(look, weak=False)
    try:
        with tracing() as trace:
            sent_from_a_root(lambda: [queued.tasks["add"].delay(number, 1) for number in range(MANY)])
    finally:
        before_task_publish.disconnect(look)
    here = {span.context.span_id for span in trace.spans}
    assert all(span.parent is None or span.parent.span_id in here for span in trace.spans)
    assert len([span for span in trace.spans if span.name == "receiver"]) == MANY


def test_asynchronous_senders(queued):
    async def publish():
        await asyncio.gather(*[sync_to_async(queued.tasks["add"].delay)(number, 1) for number in range(MANY)])
        for number in range(MANY):
            queued.tasks["add"].delay(number, 1)

    with tracing() as trace:
        sent_from_a_root(lambda: asyncio.run(publish()))
        carried = [headers["traceparent"].split("-")[2] for headers, _ in messages(queued, 2 * MANY)]
        found = publishes(trace)
    assert set(carried) == {f"{span.context.span_id:016x}" for span in found}
    assert sum(span.attributes.get("clew.folded.count", 1) for span in found) == 2 * MANY


def traced_by(sampler, publish, count, **settings):
    """All spans of a request that sends, and of the runs, with a sampler."""
    provider = TracerProvider(sampler=sampler)
    ended = []
    provider.add_span_processor(_Keeping(ended))
    handle = clew.setup_tracing(tracer_provider=provider, **settings)
    try:
        with provider.get_tracer("test").start_as_current_span("root"):
            publish()
        until(lambda: count())
        return ended
    finally:
        handle.shutdown()


class _Keeping(SpanProcessor):
    def __init__(self, ended):
        self._ended = ended

    def on_end(self, span):
        self._ended.append(span)


@pytest.mark.parametrize("ratio", [1e-9, 1 - 1e-9], ids=["unsampled", "sampled"])
@pytest.mark.parametrize("is_parent_based", [True, False])
def test_a_trace_of_its_own_is_sampled_as_its_roots_is(app, ratio, is_parent_based):
    app.ran.clear()
    sampler = TraceIdRatioBased(ratio)
    spans = traced_by(
        ParentBased(sampler) if is_parent_based else sampler,
        lambda: [app.tasks["noted"].delay(number) for number in range(MANY)],
        lambda: len(app.ran) == MANY,
        fan_out=0,
    )
    until(lambda: ratio < 0.5 or len(runs_of(spans, "noted")) == MANY)
    assert len(runs_of(spans, "noted")) == (MANY if ratio > 0.5 else 0)


def test_unsampled_requests_send_as_before(queued):
    handle_spans = traced_by(ALWAYS_OFF, lambda: [queued.tasks["add"].delay(n, 1) for n in range(MANY)], lambda: True)
    assert handle_spans == []
    assert not any("clew-fan-out" in headers for headers, _ in messages(queued, MANY))


@pytest.mark.parametrize("text", ["", "1", "x:1", "0:1", "-3:0", "1:x", "9" * 600 + ":1", None, 3, "1:0:2", b"1:1"])
def test_what_others_write_there_is_nothing(text):
    assert read_place(text) is None


def test_what_is_written_is_read():
    assert read_place(Place(17, True).text()) == (17, True)
    assert read_place(Place(100_000, False).text()) == (100_000, False)
