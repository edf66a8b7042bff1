"""`late_binding_on_commit`: hooks that all see the last item, and hooks that do not."""

from __future__ import annotations

import functools

from django.db import transaction

from tests.detectors.others.case import found, silent

TYPE = "late_binding_on_commit"
ran: list = []
CURRENT = None
ROUTES = {"a": "x"}


class Sender:
    """Keeps in `self` what it works on."""

    def __init__(self):
        self.item = None
        self.sent = 0

    def each(self, items):
        with transaction.atomic():
            for self.item in items:
                transaction.on_commit(lambda: ran.append(self.item))

    def by_method(self, items):
        with transaction.atomic():
            for self.item in items:
                transaction.on_commit(self.send)

    def counting(self, items):
        with transaction.atomic():
            for _ in items:
                transaction.on_commit(self.count)

    def send(self):
        ran.append(self.item)

    def count(self):
        self.sent += 1


def _bound():
    with transaction.atomic():
        for item in "abc":
            transaction.on_commit(lambda item=item: ran.append(item))


@found(TYPE, "3 on_commit hooks from this line share the variable item: ", mended=_bound)
def a_lambda():
    with transaction.atomic():
        for item in "abc":
            transaction.on_commit(lambda: ran.append(item))  # noqa: B023


@found(TYPE, "share the variables key, value: ")
def two_variables():
    with transaction.atomic():
        for key, value in (("a", 1), ("b", 2)):
            transaction.on_commit(lambda: ran.append((key, value)))  # noqa: B023


@found(TYPE, "share the variable CURRENT: ")
def a_global_name():
    global CURRENT
    with transaction.atomic():
        for CURRENT in ("a", "b"):
            transaction.on_commit(lambda: ran.append(CURRENT))  # noqa: B023


@found(TYPE, "share the variable self.item: ")
def an_attribute():
    Sender().each(["a", "b"])


@found(TYPE, "share the variable self.item: ")
def a_method_that_reads_an_attribute():
    Sender().by_method(["a", "b"])


@found(TYPE, "share the variable number: ")
def numbers():
    with transaction.atomic():
        for number in range(1000, 1003):
            transaction.on_commit(lambda: ran.append(number), robust=True)  # noqa: B023


@silent(TYPE)
def bound_by_default_or_partial():
    with transaction.atomic():
        for item in "abc":
            transaction.on_commit(lambda item=item: ran.append(item))
            transaction.on_commit(functools.partial(ran.append, item))
            transaction.on_commit(functools.partial(lambda one: ran.append(one), item))


@silent(TYPE)
def with_constants_of_its_own():
    with transaction.atomic():
        for _ in range(2):
            transaction.on_commit(lambda: ran.extend(()))
            transaction.on_commit(lambda: [ran.append(each) for each in (1, 2)])


@silent(TYPE)
def an_equal_value_each_time():
    with transaction.atomic():
        for each in ("ab", "ab"):
            name = "".join(list(each))
            transaction.on_commit(lambda: ran.append(name))  # noqa: B023


@silent(TYPE)
def global_names_that_stay():
    with transaction.atomic():
        for _ in range(3):
            transaction.on_commit(lambda: ran.append(ROUTES["a"]))


@silent(TYPE)
def a_counter_of_the_hooks_own():
    Sender().counting("abc")
    sent = 0

    def count():
        nonlocal sent
        sent += 1

    with transaction.atomic():
        for _ in range(3):
            transaction.on_commit(count)
            sent += 1


@silent(TYPE)
def a_list_that_is_filled():
    batch = []
    with transaction.atomic():
        for each in "abc":
            batch.append(each)
            transaction.on_commit(lambda: ran.extend(batch))


@silent(TYPE)
def a_method_of_each_object():
    with transaction.atomic():
        for each in "abc":
            sender = Sender()
            sender.item = each
            transaction.on_commit(sender.send)


@silent(TYPE)
def a_closure_for_each():
    def later(item):
        transaction.on_commit(lambda: ran.append(item))

    with transaction.atomic():
        for each in "abc":
            later(each)


@silent(TYPE)
def the_same_function():
    with transaction.atomic():
        for _ in range(3):
            transaction.on_commit(_nothing)
            transaction.on_commit(ran.clear)


def _nothing():
    ran.append(len(ROUTES))
