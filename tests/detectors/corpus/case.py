"""A case: code as it is written in applications, and whether it is an N+1."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import django

ROWS = 6


@dataclass(frozen=True)
class Case:
    """One piece of code.

    Args:
        name: of its function, and of its URL.
        kind: what it is an example of.
        function: takes the request; a response, or anything.
        relation: what is loaded again and again; "" where it is fine.
        also: what else is, as a consequence.
        rows: of each model there are.
        at_two, at_five: whether it is an N+1 at these thresholds.
        path: where it is, when not at its own URL.
        method: of the request.
        is_staff: a superuser asks.
        since: the first Django that can do it.
    """

    name: str
    kind: str
    function: Callable[..., Any]
    relation: str = ""
    also: tuple[str, ...] = ()
    rows: int = ROWS
    at_two: bool = False
    at_five: bool = False
    path: str = ""
    method: str = "get"
    is_staff: bool = False
    since: tuple[int, int] = (4, 2)

    def is_bad(self, threshold: int) -> bool:
        return self.at_two if threshold == 2 else self.at_five


CASES: dict[str, Case] = {}


def bad(kind: str, relation: str, *also: str, at_five: bool = True, **options: Any):
    """An N+1. With `at_five=False` it has too few rows for a threshold of five."""

    def keep(function):
        return _keep(Case(function.__name__, kind, function, relation, also, at_two=True, at_five=at_five, **options))

    return keep


def fine(kind: str, **options: Any):
    """No N+1, though it may have many queries."""

    def keep(function):
        return _keep(Case(function.__name__, kind, function, **options))

    return keep


def _keep(case: Case):
    assert case.name not in CASES, case.name
    if django.VERSION[:2] >= case.since:
        CASES[case.name] = case
    return case.function
