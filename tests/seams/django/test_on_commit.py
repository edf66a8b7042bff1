"""on_commit hooks: a span each, linked to the transaction; for Django and the application nothing stands there."""

from __future__ import annotations

import functools
import logging

import pytest
from django.contrib.auth.models import Group
from django.db import connection, transaction
from django.test import TestCase

from clew.seams.django.transaction.on_commit import Hook
from clew.source import frames
from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.seams.django.test_template import below_view
from tests.seams.django.test_transaction import T, line_of, served, urlpatterns  # noqa: F401

pytestmark = [pytest.mark.urls(__name__), pytest.mark.django_db(transaction=True)]


def create():
    Group.objects.create(name="hook")


def test_a_hook_is_a_span_after_its_transaction_and_linked_to_it(trace):
    def view():
        with transaction.atomic():
            Group.objects.create(name="a")
            transaction.on_commit(create)

    served(view)
    assert below_view(trace, f"{T}outcome") == (
        "transaction default outcome=committed\n"
        "  CLIENT INSERT auth_group\n"
        "on_commit test_on_commit.create\n"
        "  CLIENT INSERT auth_group"
    )
    span, opened = trace.named("on_commit test_on_commit.create"), trace.named("transaction default")
    assert [link.context.span_id for link in span.links] == [opened.context.span_id]
    assert dict(span.attributes) == {
        "django.db.alias": "default",
        "django.db.on_commit.robust": False,
        "django.db.transaction.span_id": f"{opened.context.span_id:016x}",
        "code.function.name": f"{__name__}.create",
        "code.file.path": __file__,
        "code.line.number": create.__code__.co_firstlineno,
    }
    assert opened.end_time <= span.start_time


def test_a_query_of_a_hook_says_so(trace):
    def view():
        with transaction.atomic():
            transaction.on_commit(create)

    served(view)
    assert trace.named("INSERT auth_group").attributes["clew.db.phase"] == "hook"
    assert frames.HOOK


def test_names_of_hooks(trace):
    def view():
        app = make_app()
        with transaction.atomic():
            transaction.on_commit(lambda: None)
            transaction.on_commit(functools.partial(create))
            transaction.on_commit(functools.partial(app.tasks["add"].delay, 1, 2))
            transaction.on_commit(str)

    served(view)
    lines = [line.strip() for line in below_view(trace).splitlines() if "on_commit" in line]
    assert lines == [
        "on_commit test_on_commit.<lambda>",
        "on_commit test_on_commit.create",
        "on_commit add.delay",
        "on_commit builtins.str",
    ]


def test_outside_a_transaction_a_hook_runs_at_once(trace):
    served(lambda: transaction.on_commit(create))
    assert below_view(trace) == "on_commit test_on_commit.create\n  CLIENT INSERT auth_group"
    assert "django.db.transaction.span_id" not in trace.named("on_commit test_on_commit.create").attributes


def broken():
    raise ValueError("no")


@pytest.mark.parametrize("with_clew", [True, False], ids=["clew", "django"])
def test_an_error_of_a_hook_is_the_callers_and_ends_the_rest(with_clew):
    ran = []

    def view():
        with transaction.atomic():
            transaction.on_commit(lambda: ran.append(1))
            transaction.on_commit(broken)
            transaction.on_commit(lambda: ran.append(2))

    if not with_clew:
        assert served(view).status_code == 500
    else:
        with tracing() as trace:
            assert served(view).status_code == 500
        assert below_view(trace, f"{T}outcome") == (
            "transaction default outcome=committed\n"
            "on_commit test_on_commit.<lambda>\non_commit test_on_commit.broken ERROR"
        )
    assert ran == [1]


@pytest.mark.parametrize("with_clew", [True, False], ids=["clew", "django"])
def test_the_swallowed_error_of_a_robust_hook_is_recorded(with_clew, caplog):
    ran = []

    def view():
        with transaction.atomic():
            transaction.on_commit(broken, robust=True)
            transaction.on_commit(lambda: ran.append(2))

    with caplog.at_level(logging.ERROR, "django.db"):
        if with_clew:
            with tracing() as trace:
                assert served(view).status_code == 200
            span = trace.named("on_commit test_on_commit.broken")
            assert [event.attributes["exception.message"] for event in span.events] == ["no"]
            assert span.attributes["django.db.on_commit.robust"] is True
        else:
            assert served(view).status_code == 200
    assert [each.getMessage() for each in caplog.records if each.name.startswith("django.db")] == [
        "Error calling broken in on_commit() during transaction (no)."
    ]
    assert ran == [2]


def test_the_registered_functions_are_the_users_own(trace):
    seen = []

    def view():
        with transaction.atomic():
            transaction.on_commit(create)
            seen.extend(entry[1] for entry in connection.run_on_commit)

    served(view)
    assert seen == [create]


def test_a_hook_that_opens_a_transaction(trace):
    def again():
        with transaction.atomic():
            transaction.on_commit(create)

    def view():
        with transaction.atomic():
            transaction.on_commit(again)

    served(view)
    assert below_view(trace, f"{T}outcome") == (
        "transaction default outcome=committed\n"
        "on_commit test_on_commit.again\n"
        "  transaction default outcome=committed\n"
        "  on_commit test_on_commit.create\n"
        "    CLIENT INSERT auth_group"
    )


def test_a_rollback_runs_none(trace):
    def view():
        with transaction.atomic():
            transaction.on_commit(create)
            transaction.set_rollback(True)

    served(view)
    assert below_view(trace, f"{T}outcome") == "transaction default outcome=rolled_back"


@pytest.mark.django_db
def test_captured_callbacks_are_the_users_own(trace):
    def view():
        with transaction.atomic():
            transaction.on_commit(create)

    with TestCase.captureOnCommitCallbacks(execute=True) as callbacks:
        served(view)
    assert callbacks == [create]
    assert Group.objects.count() == 1


def test_a_hook_answers_as_what_it_stands_for():
    hook = Hook(create, "default", None, is_robust=False)
    assert hook.__qualname__ == create.__qualname__
    assert repr(hook) == repr(create)
    with pytest.raises(AttributeError, match="partial"):
        _ = Hook(functools.partial(create), "default", None, is_robust=False).__qualname__


def test_line_numbers_are_the_functions(trace):
    def view():
        with transaction.atomic():
            transaction.on_commit(lambda: None)

    served(view)
    (span,) = [each for each in trace.spans if each.name.startswith("on_commit")]
    assert span.attributes["code.line.number"] == line_of(view, 2)
