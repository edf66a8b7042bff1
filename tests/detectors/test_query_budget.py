"""`query_budget`: more queries than a route or task is allowed."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import Group, User

from clew.settings import SettingsError
from clew.testing import tracing
from tests.detectors.served import get
from tests.detectors.shared import found

pytestmark = pytest.mark.django_db


def three_queries() -> None:
    Group.objects.count()
    Group.objects.first()
    User.objects.count()


def findings(budgets):
    with tracing(query_budgets=budgets) as trace:
        get(three_queries)
    return found(trace, "query_budget"), trace


@pytest.mark.parametrize("budgets", [{"books/": 2}, {"*": 2}, {"books/": 2, "*": 9}])
def test_detects_more_queries_than_the_route_may_run(budgets):
    [finding], trace = findings(budgets)
    assert finding.message == "books/ ran 3 queries; its budget is 2"
    root = trace.spans[-1]
    assert [event.attributes["clew.finding.type"] for event in root.events] == ["query_budget"]
    assert root.attributes["clew.findings"] == ("query_budget",)


def test_detects_it_with_a_budget_from_the_environment(monkeypatch):
    monkeypatch.setenv("CLEW_QUERY_BUDGETS", "books/=1, *=50")
    with tracing() as trace:
        get(three_queries)
    assert [finding.message for finding in found(trace, "query_budget")] == ["books/ ran 3 queries; its budget is 1"]


@pytest.mark.parametrize("budgets", [{}, {"books/": 3}, {"books/": 3, "*": 1}, {"authors/": 0}])
def test_no_false_positive(budgets):
    assert findings(budgets)[0] == []


@pytest.mark.parametrize("budgets", [{"books/": "many"}, {"books/": -1}, 7])
def test_a_budget_that_is_no_number_is_said_in_one_line(budgets):
    with pytest.raises(SettingsError, match="query_budgets"), tracing(query_budgets=budgets):
        pass
