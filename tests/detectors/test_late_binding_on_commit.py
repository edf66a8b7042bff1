"""on_commit hooks that all see the last item."""

from __future__ import annotations

import functools

import pytest
from django.contrib.auth.models import Group
from django.db import transaction

from tests.detectors.shared import found, said_on, unsampled
from tests.seams.django.test_transaction import line_of, served

pytestmark = [pytest.mark.urls("tests.seams.django.test_transaction"), pytest.mark.django_db(transaction=True)]
TYPE = "late_binding_on_commit"


def test_detects_a_lambda_in_a_loop(trace):
    ran = []

    def view():
        with transaction.atomic():
            for item in ["a", "b", "c"]:
                transaction.on_commit(lambda: ran.append(item))  # noqa: B023

    assert served(view).status_code == 200
    assert ran == ["c", "c", "c"]
    (finding,) = found(trace, TYPE)
    assert finding.message == (
        "3 on_commit hooks from this line share the variable item: all of them run with the last value"
    )
    assert (
        finding.fix == "bind it when the hook is registered: transaction.on_commit(lambda item=item: ran.append(item))"
    )
    assert (finding.site.path, finding.site.line) == (__file__, line_of(view, 3))
    assert said_on(trace, "transaction default").count(TYPE) == 1  # a slow broker makes it io_in_transaction, too
    event = next(each for each in trace.named("transaction default").events if each.name == f"clew.finding.{TYPE}")
    assert event.attributes["code.line.number"] == line_of(view, 3)
    assert event.attributes["clew.finding.count"] == 3


def test_detects_a_named_function_over_a_generator_of_short_lived_objects(trace):
    def view():
        with transaction.atomic():
            for number in range(3):
                item = object()

                def hook():
                    return item  # noqa: B023

                transaction.on_commit(hook)
                del number

    served(view)
    assert [finding.evidence["variables"] for finding in found(trace, TYPE)] == ["item"]


def test_detects_it_below_a_partial_and_with_one_function_registered_again(trace):
    def view():
        with transaction.atomic():

            def hook():
                return name

            for name in "ab":  # noqa: B007
                transaction.on_commit(functools.partial(hook))

    served(view)
    assert len(found(trace, TYPE)) == 1


@pytest.mark.django_db
def test_detects_it_inside_a_test_s_transaction(trace):
    def view():
        with transaction.atomic():
            for item in "ab":
                transaction.on_commit(lambda: item)  # noqa: B023

    served(view)
    assert len(found(trace, TYPE)) == 1


def test_detects_it_in_an_unsampled_request():
    def view():
        with transaction.atomic():
            for item in "ab":
                transaction.on_commit(lambda: item)  # noqa: B023

    assert [each.type for each in unsampled(lambda: served(view))] == [TYPE]


def test_no_false_positive_for_bound_arguments(trace):
    def view():
        with transaction.atomic():
            for item in "abc":
                transaction.on_commit(lambda item=item: item)
                transaction.on_commit(functools.partial(print, item, end=""))

    served(view)
    assert not found(trace, TYPE)


def test_no_false_positive_for_a_function_of_its_own_each_time(trace):
    def view():
        def later(item):
            transaction.on_commit(lambda: item)

        with transaction.atomic():
            for item in "abc":
                later(item)

    served(view)
    assert not found(trace, TYPE)


def test_no_false_positive_for_a_variable_that_did_not_change(trace):
    def view():
        request = object()
        with transaction.atomic():
            for _ in range(3):
                transaction.on_commit(lambda: request)

    served(view)
    assert not found(trace, TYPE)


def test_no_false_positive_for_one_hook_or_after_a_rollback(trace):
    def view():
        with transaction.atomic():
            for item in "ab":
                with transaction.atomic():
                    Group.objects.create(name=item)
                    transaction.on_commit(lambda: item)  # noqa: B023
                    transaction.set_rollback(item == "a")

    served(view)
    assert not found(trace, TYPE)


def test_no_false_positive_for_the_same_function_without_variables(trace):
    def view():
        with transaction.atomic():
            for _ in range(3):
                transaction.on_commit(str)

    served(view)
    assert not found(trace, TYPE)
