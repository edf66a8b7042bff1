"""The same task, with the same arguments, twice."""

from __future__ import annotations

import uuid

import pytest
from celery import group
from django.contrib.auth.models import Group
from django.utils.functional import SimpleLazyObject

from tests.celery_site.app import make_app
from tests.detectors.shared import found, said_on, unsampled
from tests.seams.django.test_transaction import line_of, served

pytestmark = [pytest.mark.urls("tests.seams.django.test_transaction"), pytest.mark.django_db(transaction=True)]
TYPE = "duplicate_publish"


@pytest.fixture
def app():
    return make_app(queue=f"clew-{uuid.uuid4().hex[:12]}")


def test_detects_two_lines_that_send_the_same(trace, app):
    def view():
        app.tasks["add"].delay(1, right=2)
        app.tasks["add"].apply_async((1,), {"right": 2})

    served(view)
    (finding,) = found(trace, TYPE)
    assert finding.message == (
        f"add was sent 2 times with the same arguments, from detectors/test_duplicate_publish.py:{line_of(view, 1)} "
        f"and detectors/test_duplicate_publish.py:{line_of(view, 2)}"
    )
    assert finding.fix == "send it once"
    assert finding.severity == "warning"
    assert said_on(trace, "GET run/") == [TYPE]


def test_detects_a_loop(trace, app):
    def view():
        for _ in range(7):
            app.send_task("unknown.task", [{"a": [1, 2.5, None, b"x"]}])

    served(view)
    (finding,) = found(trace, TYPE)
    assert finding.message.startswith("unknown.task was sent 7 times with the same arguments, ")
    assert finding.message.endswith(f"from detectors/test_duplicate_publish.py:{line_of(view, 2)}")


def _alike(task, one, other):
    task.apply_async(*one)
    task.apply_async(*other)


@pytest.mark.parametrize(
    ("one", "other", "is_alike"),
    [
        (((1,), {}), ((), {"left": 1}), True),
        (((1,), {"more": 2}), ((), {"more": 2, "left": 1}), True),
        (((1,), {"right": 5}), ((1,), {}), True),
        (([1], {}), ((1,), {}), True),
        (((1,), {"a": {"x": 1, "y": [2, (3,)]}}), ((1,), {"a": {"y": (2, [3]), "x": 1}}), True),
        (((1,), {"more": 2}), ((1,), {"other": 2}), False),
        (((1,), {"held": None}), ((1,), {}), False),
        (((1,), {"right": "5"}), ((1,), {}), False),
        (((1,), {"a": {"x": 1, "y": 2}}), ((1,), {"a": {"x": 2, "y": 1}}), False),
    ],
)
def test_by_the_parameters_of_the_task(trace, app, one, other, is_alike):
    @app.task(name="any", shared=False)
    def any_task(left, right=5, *, held=(), **more):
        pass

    served(lambda: _alike(any_task, one, other))
    assert bool(found(trace, TYPE)) is is_alike


def test_arguments_that_are_too_long_are_left_alone(trace, app):
    served(lambda: _alike(app.tasks["add"], (("x" * 30_000, 1),), (("x" * 30_000, 1),)))
    served(lambda: _alike(app.tasks["add"], ((list(range(600)), 1),), ((list(range(600)), 1),)))
    assert not found(trace, TYPE)


def test_detects_it_as_information_where_something_was_written_in_between(trace, app):
    def view():
        app.tasks["add"].delay(1, 2)
        Group.objects.create(name="a")
        app.tasks["add"].delay(1, 2)

    served(view)
    (finding,) = found(trace, TYPE)
    assert finding.severity == "information"
    assert finding.message.endswith("; something was written in between")


def test_detects_it_in_an_unsampled_request(app):
    def view():
        app.tasks["add"].delay(1, 2)
        app.tasks["add"].delay(1, 2)

    assert [each.type for each in unsampled(lambda: served(view))] == [TYPE]


def test_nothing_of_the_arguments_is_recorded(trace, app):
    served(lambda: [app.tasks["add"].delay("hunter2", 2) for _ in range(2)] and None)
    assert found(trace, TYPE)
    assert "hunter2" not in "".join(span.to_json() for span in trace.spans)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((1, 2), (2, 1)),
        ((1, -1), (1, -2)),
        ((1, 1), (1, True)),
        ((1, 1), (1, 1.0)),
        (("1", 1), (1, 1)),
        (("a,str:'b'",), ("a", "b")),
    ],
)
def test_no_false_positive_for_other_arguments(trace, app, first, second):
    def view():
        app.send_task("any", first)
        app.send_task("any", second)

    served(view)
    assert not found(trace, TYPE)


@pytest.mark.parametrize("options", [{"countdown": 5}, {"queue": "other"}, {"priority": 3}])
def test_no_false_positive_for_another_time_or_queue(trace, app, options):
    def view():
        app.tasks["add"].delay(1, 2)
        app.tasks["add"].apply_async((1, 2), **options)

    served(view)
    assert not found(trace, TYPE)


@pytest.mark.parametrize("eager", [True, False])
def test_no_false_positive_for_members_of_a_group(trace, app, eager):
    app.conf.task_always_eager = eager
    served(lambda: group([app.tasks["add"].s(1, 2) for _ in range(3)], app=app).delay() and None)
    assert len([span for span in trace.spans if span.name == "apply_async/add"]) == 3
    assert not found(trace, TYPE)


def test_no_false_positive_for_chunks(trace, app):
    served(lambda: app.tasks["add"].chunks([(1, 2)] * 4, 2).apply_async() and None)
    assert not found(trace, TYPE)


def test_no_false_positive_for_a_retry(trace, app):
    app.conf.task_always_eager = True
    served(lambda: app.tasks["again"].delay(1) and None)
    assert not found(trace, TYPE)


def test_no_false_positive_for_what_cannot_be_compared_and_it_is_left_alone(trace, app):
    app.conf.task_always_eager = True

    class Number(int):
        def __repr__(self):
            raise AssertionError("it was looked at")

    def evaluated():
        raise AssertionError("it was evaluated")

    @app.task(name="any", shared=False)
    def any_task(value):
        pass

    def view():
        for _ in range(2):
            any_task.apply((Number(1),))
            any_task.apply(([SimpleLazyObject(evaluated)],))

    assert served(view).status_code == 200
    assert not found(trace, TYPE)


def test_no_false_positive_for_two_requests(trace, app):
    for _ in range(2):
        served(lambda: app.tasks["add"].delay(1, 2) and None)
    assert not found(trace, TYPE)
