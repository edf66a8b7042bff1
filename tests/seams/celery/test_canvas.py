"""Canvases: parents as Celery runs them, a chord's body linked to every task of its header."""

from __future__ import annotations

import contextlib
import uuid

import celery
import celery.canvas
import pytest
from celery import chain, chord, group
from celery.contrib.testing.worker import start_worker
from opentelemetry import trace as otel
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.celery_site.worker import DEADLINE
from tests.seams.celery import ends
from tests.seams.celery.in_process import links, runs_of, until
from tests.seams.celery.test_worker import Site, _connections, site  # noqa: F401 - a fixture


@contextlib.contextmanager
def working(**conf):
    """An app whose worker runs in a thread of this process."""
    app = make_app(queue=f"clew-{uuid.uuid4().hex[:12]}", **conf)
    ends.declare(app)
    with start_worker(app, pool="solo", perform_ping_check=False, shutdown_timeout=DEADLINE):
        yield app


@pytest.fixture(scope="module")
def app():
    """With a backend that counts a chord's results by itself."""
    with working(backend="cache+memory://") as app:
        yield app


def sent(trace, signature, name, count=1):
    """Send it below a span, wait for the runs of `name`; these."""
    with otel.get_tracer("test").start_as_current_span("view"):
        signature.delay()
    until(lambda: len(runs_of(trace.spans, name)) >= count)
    return runs_of(trace.spans, name)


def to_header(body):
    return sorted(span_id for kind, span_id in links(body) if kind == "chord_header")


def ids(spans):
    return sorted(span.context.span_id for span in spans)


def assert_linked(trace, body, header):
    """The body's run is linked to just these runs; no link leads nowhere."""
    assert to_header(body) == ids(header)
    known = {span.context.span_id for span in trace.spans}
    for span in trace.spans:
        assert {link.context.span_id for link in span.links} <= known
        assert {link.context.trace_id for link in span.links} <= {span.context.trace_id for span in trace.spans}


def test_a_chords_body_is_linked_to_its_whole_header(trace, app):
    """docs/upstream.md, celery 8: contrib knows the last one only."""
    add, total = app.tasks["add"], app.tasks["total"]
    (body,) = sent(trace, chord([add.s(number, 1) for number in range(5)], total.s(), app=app), "total")
    header = runs_of(trace.spans, "add")
    assert len(header) == 5
    assert_linked(trace, body, header)
    assert body.attributes["celery.chord.size"] == 5
    assert {run.attributes["celery.group_id"] for run in header} == {body.attributes["celery.chord.group_id"]}
    assert [run.attributes["celery.group_index"] for run in header] == [0, 1, 2, 3, 4]


def test_a_header_of_chains_groups_and_chords(trace, app):
    add, total = app.tasks["add"], app.tasks["total"]
    nested = chord(
        [
            add.s(1, 1),
            chain(add.s(2, 2), add.s(3)),
            chord([add.s(4, 4), add.s(5, 5)], total.s()),
        ],
        app.tasks["errback"].s(),
        app=app,
    )
    (body,) = sent(trace, nested, "errback")
    last = [
        run
        for run in runs_of(trace.spans, "add")
        if run.attributes.get("celery.group_id") == body.attributes["celery.chord.group_id"]
    ]
    (inner,) = runs_of(trace.spans, "total")
    assert_linked(trace, body, [*last, inner])
    assert len(to_header(inner)) == 2
    assert len({span.context.trace_id for span in trace.spans}) == 1


def test_a_group_within_a_header(trace, app):
    add, total = app.tasks["add"], app.tasks["errback"]
    (body,) = sent(trace, chord([group(add.s(1, 1), add.s(2, 2)), add.s(3, 3)], total.s(), app=app), "errback")
    assert_linked(trace, body, runs_of(trace.spans, "add"))


def test_a_chord_in_a_chain_and_a_chain_as_its_body(trace, app):
    add, total = app.tasks["add"], app.tasks["total"]
    header = group(add.s(1), add.s(2))
    (body,) = sent(trace, chain(add.s(0, 0), chord(header, chain(total.s(), add.s(5))), app=app), "total")
    until(lambda: len(runs_of(trace.spans, "add")) >= 4)
    members = [run for run in runs_of(trace.spans, "add") if "celery.group_index" in run.attributes]
    assert_linked(trace, body, members)
    assert [to_header(run) for run in runs_of(trace.spans, "add")] == [[]] * 4


def test_a_group_as_a_body(trace, app):
    add, total = app.tasks["add"], app.tasks["total"]
    bodies = sent(trace, chord([add.s(1, 1), add.s(2, 2)], group(total.s(), total.s()), app=app), "total", 2)
    for body in bodies:
        assert_linked(trace, body, runs_of(trace.spans, "add"))


def test_retried_and_replaced_tasks_of_a_header(trace, app):
    """The link leads to the first run; what came of it is its sibling or child."""
    header = [app.tasks["again"].s(1), app.tasks["replaced"].s(1)]
    (body,) = sent(trace, chord(header, app.tasks["errback"].s(), app=app), "errback")
    assert_linked(trace, body, [runs_of(trace.spans, "again")[0], *runs_of(trace.spans, "replaced")])
    assert runs_of(trace.spans, "replaced")[0].attributes["celery.outcome"] == "replaced"


def test_link_mode(app):
    with tracing(task_parent="link") as trace:
        add, total = app.tasks["add"], app.tasks["total"]
        (body,) = sent(trace, chord([add.s(1, 1), add.s(2, 2)], total.s(), app=app), "total")
        header = runs_of(trace.spans, "add")
        assert len({run.context.trace_id for run in header}) == 2
        assert_linked(trace, body, header)


def test_a_header_nobody_has_counted_is_left_alone(trace, app):
    """A generator is not used up."""
    seen = []

    def tasks():
        for number in range(3):
            seen.append(number)
            yield app.tasks["add"].s(number, 1)

    (body,) = sent(trace, chord(tasks(), app.tasks["total"].s(), app=app), "total")
    assert seen == [0, 1, 2]
    assert [run.status.status_code.name for run in runs_of(trace.spans, "add")] == ["UNSET"] * 3
    known = {span.context.span_id for span in trace.spans}
    assert set(to_header(body)) <= known


def test_ids_of_the_sites_own_are_kept(app, monkeypatch):
    """Then there is nothing to derive links from."""

    class Generator(RandomIdGenerator):
        pass

    with tracing() as trace:
        monkeypatch.setattr("clew.seams.celery.receive.RandomIdGenerator", Generator)
        add, total = app.tasks["add"], app.tasks["total"]
        (body,) = sent(trace, chord([add.s(1, 1), add.s(2, 2)], total.s(), app=app), "total")
        assert to_header(body) == []
        assert body.attributes["celery.chord.size"] == 2


@pytest.mark.skipif(celery.VERSION < (5, 7), reason="Celery gives both the same ids, and one body never runs")
def test_a_signature_that_is_sent_twice_has_two_headers(trace, app):
    add, total = app.tasks["add"], app.tasks["total"]
    canvas = chord([add.s(1, 1), add.s(2, 2)], total.s(), app=app)
    sent(trace, canvas, "total")
    first, second = sent(trace, canvas, "total", 2)
    assert set(to_header(first)).isdisjoint(to_header(second))
    assert len({*to_header(first), *to_header(second)} & set(ids(runs_of(trace.spans, "add")))) == 4
    assert "headers" not in canvas.body.options


def test_errors_call_back_below_the_run_that_failed(trace, app):
    sent(trace, app.tasks["fail"].s().on_error(app.tasks["errback by id"].s()), "errback by id")
    assert trace.tree("celery.outcome").splitlines() == [
        "view",
        "  PRODUCER apply_async/fail",
        "    CONSUMER run/fail ERROR outcome=failed",
        "      PRODUCER apply_async/errback by id",
        "        CONSUMER run/errback by id outcome=succeeded",
    ]


def test_an_error_callback_that_celery_calls_itself_is_a_span_of_the_run(trace, app):
    """One that takes request, error and traceback is not sent but called."""
    sent(trace, app.tasks["fail"].s().on_error(app.tasks["errback"].s()), "fail")
    assert trace.tree().splitlines() == [
        "view",
        "  PRODUCER apply_async/fail",
        "    CONSUMER run/fail ERROR",
        "      errback errback",
    ]
    assert trace.named("errback errback").attributes["code.function.name"].endswith("errback")


@pytest.mark.parametrize(
    ("canvas", "name", "count"),
    [
        (lambda app: app.tasks["add"].starmap([(1, 2), (3, 4), (5, 6)]), "starmap", 3),
        (lambda app: app.tasks["total"].map([[1, 2], [3, 4]]), "map", 2),
    ],
)
def test_what_is_mapped_is_one_run_that_says_what_it_calls(trace, app, canvas, name, count):
    (run,) = sent(trace, canvas(app), f"celery.{name}")
    assert run.attributes["celery.mapped_count"] == count
    assert run.attributes["celery.mapped_task"] in ("add", "total")


def test_chunks_are_a_group_of_starmaps(trace, app):
    runs = sent(trace, app.tasks["add"].chunks([(1, 1)] * 5, 2).group(), "celery.starmap", 3)
    assert [run.attributes["celery.mapped_count"] for run in runs] == [2, 2, 1]
    assert {run.attributes["celery.mapped_task"] for run in runs} == {"add"}


def test_what_a_body_sends_with_its_own_headers_is_no_body(trace, app):
    body = app.tasks["passes headers on"].s()
    sent(trace, chord([app.tasks["add"].s(1, 1), app.tasks["add"].s(2, 2)], body, app=app), "add", 3)
    assert [to_header(run) for run in runs_of(trace.spans, "add")] == [[], [], []]
    assert {len(to_header(run)) for run in runs_of(trace.spans, "passes headers on")} == {2}


def test_replaced_by_a_group_is_below_what_it_replaces(trace, app):
    sent(trace, app.tasks["replaced by a group"].s(), "celery.accumulate")
    assert trace.tree("celery.outcome").splitlines()[:4] == [
        "view",
        "  PRODUCER apply_async/replaced by a group",
        "    CONSUMER run/replaced by a group outcome=replaced",
        "      PRODUCER apply_async/add",
    ]
    (body,) = runs_of(trace.spans, "celery.accumulate")
    header = runs_of(trace.spans, "add") if celery.VERSION >= (5, 7) else []
    assert_linked(trace, body, header)


@pytest.mark.parametrize(
    ("canvas", "name"),
    [
        (lambda add: group([add.s(1, 1), add.s(2, 2)]), "canvas group"),
        (lambda add: chord([add.s(1, 1), add.s(2, 2)], add.si(3, 3)), "canvas chord"),
    ],
)
def test_outside_of_any_span_it_is_one_trace(trace, app, canvas, name):
    canvas(app.tasks["add"]).delay()
    until(lambda: len(runs_of(trace.spans, "add")) >= 2)
    assert trace.named(name).parent is None
    assert len({span.context.trace_id for span in trace.spans}) == 1


def test_one_message_needs_no_canvas(trace, app):
    group([app.tasks["add"].s(1, 1)], app=app).delay()
    until(lambda: runs_of(trace.spans, "add"))
    assert trace.tree().splitlines()[0] == "PRODUCER apply_async/add"


def test_the_undo_restores_the_identical_objects():
    places = [
        (celery.canvas.group, "apply_async"),
        (celery.canvas._chord, "apply_async"),
        (celery.canvas.group, "_freeze_group_tasks"),
    ]
    before = [vars(owner)[name] for owner, name in places]
    with tracing():
        assert all(vars(owner)[name] is not found for (owner, name), found in zip(places, before, strict=True))
    assert [vars(owner)[name] for owner, name in places] == before


@pytest.mark.redis
def test_a_chord_over_children_of_a_real_worker(tmp_path):
    with site(tmp_path, "redis", "grpc", "-P", "prefork", "-c", "2") as here:
        with otel.get_tracer("test").start_as_current_span("view"):
            here.app.tasks["fan out"].delay()
        names = ("run/add", "run/total")
        spans = here.gathered.wait_for(lambda all_: sum(each.name in names for each in all_) >= 3)
        (body,) = [span for span in spans if span.name == "run/total"]
        header = [span.span_id for span in spans if span.name == "run/add"]
        here.worker.stop()
    assert len(header) == 2
    assert set(header) <= {link[1] for link in body.links}
