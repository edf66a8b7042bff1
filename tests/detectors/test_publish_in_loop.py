"""The same task again and again from one line."""

from __future__ import annotations

import asyncio
import re
import uuid
from functools import partial

import pytest
from asgiref.sync import sync_to_async
from celery import Task, chain, chord, group, signature
from django.db import transaction
from kombu import Producer

from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.detectors.shared import found, said_on, unsampled
from tests.seams.celery.conftest import current
from tests.seams.django.test_transaction import line_of, served

pytestmark = [pytest.mark.urls("tests.seams.django.test_transaction"), pytest.mark.django_db(transaction=True)]
TYPE = "publish_in_loop"
MANY = 25


@pytest.fixture
def app():
    app = make_app(queue=f"clew-{uuid.uuid4().hex[:12]}", backend="cache+memory://")

    @app.task(name="shop.tasks.bound", bind=True, shared=False)
    def bound(self, order_id):
        pass

    return app


def test_detects_a_loop_and_says_what_it_cost(trace, app):
    def view():
        for number in range(MANY):
            app.tasks["add"].delay(number, 1)

    served(view)
    (finding,) = found(trace, TYPE)
    assert re.fullmatch(
        r"add was sent 25 times from one line, one message each: [\d.]+ ms and \d+ bytes", finding.message
    )
    assert (finding.evidence["task"], finding.evidence["count"]) == ("add", MANY)
    assert finding.evidence["body_size"] > 25 * 70
    assert finding.site.line == line_of(view, 2)
    (folded,) = [span for span in trace.spans if "clew.folded.count" in span.attributes]
    assert [event.attributes["clew.finding.type"] for event in folded.events] == [TYPE]


LOOPS = {
    "apply_async": lambda app: [app.tasks["add"].apply_async((number, 1)) for number in range(MANY)],
    "send_task": lambda app: [app.send_task("add", (number, 1)) for number in range(MANY)],
    "signature": lambda app: [app.tasks["add"].s(number, 1).delay() for number in range(MANY)],
    "unknown here": lambda app: [app.send_task("other.site.task", (number,)) for number in range(MANY)],
    "one by one in groups of one": lambda app: [
        group([app.tasks["add"].s(n, 1)], app=app).delay() for n in range(MANY)
    ],
    "keywords": lambda app: [app.tasks["add"].delay(number, right=1) for number in range(MANY)],
    "a bound task": lambda app: [app.tasks["shop.tasks.bound"].delay(number) for number in range(MANY)],
    "another queue": lambda app: [
        app.tasks["add"].apply_async((n, 1), queue=app.conf.task_default_queue) for n in range(MANY)
    ],
}


@pytest.mark.parametrize("how", [each for each in LOOPS if each != "one by one in groups of one"])
def test_detects_each_way_to_send(trace, app, how):
    served(lambda: LOOPS[how](app))
    (finding,) = found(trace, TYPE)
    assert finding.evidence["count"] == MANY


def send_invoice(order_id):
    pass


class OfATenant(Task):
    """The application's own, through which all its tasks are sent."""

    def apply_async(self, args=None, kwargs=None, **options):
        return super().apply_async(args, kwargs, **{**options, "headers": {"tenant": "one"}})

    def delay(self, *args, **kwargs):
        return self.apply_async(args, kwargs)


def test_detects_the_loop_and_not_the_base_class_it_sends_through(trace, app):
    task = app.task(name="of_a_tenant", base=OfATenant, shared=False)(send_invoice)

    def view():
        for number in range(MANY):
            task.delay(number)

    served(view)
    (finding,) = found(trace, TYPE)
    assert finding.site.line == line_of(view, 2)
    assert "`rows.append((number,))`" in finding.fix


def test_no_false_positive_for_two_short_loops_through_a_base_class(trace, app):
    task = app.task(name="of_a_tenant", base=OfATenant, shared=False)(send_invoice)

    def view():
        for number in range(MANY // 2 + 1):
            task.delay(number)
        for number in range(MANY // 2 + 1):
            task.delay(-number)

    served(view)
    assert found(trace, TYPE) == []


def test_detects_it_in_an_unsampled_request(app):
    assert [each.type for each in unsampled(lambda: served(lambda: LOOPS["apply_async"](app)))] == [TYPE]


def test_detects_hooks_of_a_loop(trace, app):
    def view():
        with transaction.atomic():
            for number in range(MANY):
                transaction.on_commit(partial(app.tasks["add"].delay, number, 1))

    served(view)
    assert len(found(trace, TYPE)) == 1


def test_detects_an_asynchronous_loop(trace, app):
    def view():
        async def send():
            for number in range(MANY):
                await sync_to_async(app.tasks["add"].delay)(number, 1)

        asyncio.run(send())

    served(view)
    assert len(found(trace, TYPE)) == 1


def test_detects_two_loops_apart(trace, app):
    def view():
        for number in range(MANY):
            app.tasks["add"].delay(number, 1)
            app.tasks["add"].delay(number, 2)

    served(view)
    assert len(found(trace, TYPE)) == 2


def test_the_threshold_is_a_setting(app):
    with tracing(publish_in_loop_threshold=3) as trace:
        served(lambda: [app.tasks["add"].delay(number, 1) for number in range(3)])
        assert len(found(trace, TYPE)) == 1


def pasted(finding, app, values):
    """Run what the fix says, as it stands, around a loop over `values`."""
    before, inside, after = re.findall("`(.*?)`", finding.fix)
    tasks = {name.rpartition(".")[2]: task for name, task in app.tasks.items()}
    space = {**tasks, "group": group, "signature": signature}
    exec(before, space)
    for each in values:
        exec(inside, {**space, **each})
    with tracing() as trace:
        exec(after, space)
        return [span for span in trace.spans if span.name.startswith("apply_async/")], trace.findings


@pytest.mark.parametrize(
    ("how", "values", "messages"),
    [
        ("apply_async", {"left": 1, "right": 2}, 1),
        ("a bound task", {"order_id": 1}, 1),
        ("another queue", {"left": 1, "right": 2}, 1),
        ("keywords", {"left": 1, "right": 2}, MANY),
        ("send_task", {"value1": 1, "value2": 2}, MANY),
        ("unknown here", {"value1": 1}, MANY),
    ],
)
def test_its_fix_can_be_pasted(trace, app, how, values, messages):
    served(lambda: LOOPS[how](app))
    (finding,) = found(trace, TYPE)
    with current(app):
        spans, findings = pasted(finding, app, [values] * MANY)
    stands_for = sum(span.attributes.get("clew.folded.count", 1) for span in spans)
    assert stands_for == messages
    assert not [each for each in findings if each.type == TYPE]


def test_its_fix_has_the_lines_own_arguments(trace, app):
    orders = [("a", 2), ("b", 3)] * MANY

    def view():
        for name, metres in orders:
            app.tasks["add"].delay(name * 2, metres)

    served(view)
    (finding,) = found(trace, TYPE)
    before, inside, after = re.findall("`(.*?)`", finding.fix)
    assert inside == "rows.append((name * 2, metres))"
    assert after == "app.tasks['add'].chunks(rows, 100).apply_async()"
    space = {"app": app, "orders": orders}
    with tracing() as again:
        exec(f"{before}\nfor name, metres in orders:\n    {inside}\n{after}", space)
    assert space["rows"] == [("aa", 2), ("bb", 3)] * MANY
    assert len([span for span in again.spans if span.name.startswith("apply_async/")]) == 1


SILENT = {
    "a handful": lambda app: [app.tasks["add"].delay(number, 1) for number in range(19)],
    "a group": lambda app: group([app.tasks["add"].s(number, 1) for number in range(MANY)], app=app).delay(),
    "a group of a generator": lambda app: group((app.tasks["add"].s(n, 1) for n in range(MANY)), app=app).delay(),
    "groups in a loop": lambda app: LOOPS["one by one in groups of one"](app),
    "chunks": lambda app: app.tasks["add"].chunks([(number, 1) for number in range(90)], 3).apply_async(),
    "a starmap": lambda app: app.tasks["add"].starmap([(number, 1) for number in range(MANY)]).delay(),
    "a chord": lambda app: chord(
        [app.tasks["add"].s(n, 1) for n in range(MANY)], app.tasks["total"].s(), app=app
    ).delay(),
    "chains": lambda app: [
        chain(app.tasks["add"].s(n, 1), app.tasks["add"].s(1), app=app).delay() for n in range(MANY)
    ],
    "spread over time": lambda app: [app.tasks["add"].apply_async((n, 1), countdown=n + 1) for n in range(MANY)],
    "many lines": lambda app: [
        (
            app.tasks["add"].delay(number, 1),
            app.tasks["add"].delay(number, 2),
            app.tasks["add"].delay(number, 3),
        )
        for number in range(12)
    ],
    "many tasks": lambda app: [app.send_task(f"task {number}") for number in range(MANY)],
}


@pytest.mark.parametrize("how", SILENT)
def test_no_false_positive_for(trace, app, how):
    served(lambda: SILENT[how](app))
    assert not found(trace, TYPE)


def test_no_false_positive_for_a_few_hooks(trace, app):
    def view():
        with transaction.atomic():
            for number in range(5):
                transaction.on_commit(partial(app.tasks["add"].delay, number, 1))

    served(view)
    assert not found(trace, TYPE)


def test_no_false_positive_for_eager_calls(trace, app):
    app.conf.task_always_eager = True
    served(lambda: LOOPS["apply_async"](app))
    assert not found(trace, TYPE)


def test_no_false_positive_for_sends_that_were_refused(trace, app):
    class Refusing(Producer):
        def publish(self, *args, **kwargs):
            raise RuntimeError

    def view():
        with app.connection() as connection:
            for number in range(MANY):
                with pytest.raises(RuntimeError):
                    app.tasks["add"].apply_async((number, 1), producer=Refusing(connection.default_channel))

    served(view)
    assert not found(trace, TYPE)


def test_no_false_positive_where_it_is_switched_off(app):
    with tracing(ignored_findings=(TYPE,)) as trace:
        served(lambda: LOOPS["apply_async"](app))
        assert said_on(trace, "GET run/") == []
        assert not found(trace, TYPE)
