"""The corpus of the detectors that are not about queries: found with their sentence, or silent; sampled and not."""

from __future__ import annotations

import pytest

from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.detectors.others import case, early_publishes, failures, hooks, publishes, rollbacks
from tests.detectors.shared import found, unsampled
from tests.seams.django.test_transaction import served

CASES = case.CASES
MODULES = (rollbacks, failures, publishes, early_publishes, hooks)
pytestmark = [pytest.mark.urls("tests.seams.django.test_transaction"), pytest.mark.django_db(transaction=True)]
# Those of calls to other services need spans.
NEEDS_SPANS = ("io_in_transaction",)


def run(each, body):
    """What the body answers, as a view or as a task."""
    if not each.is_task:
        answer = served(body)
        return answer.status_code, answer.content
    app = make_app(task_always_eager=True)
    return app.task(name="task", shared=False)(body).apply().state


def findings_of(each, body):
    with tracing() as trace:
        answer = run(each, body)
    return answer, found(trace, each.type)


@pytest.mark.parametrize("each", [each for each in CASES if each.says], ids=lambda each: each.name)
def test_it_is_found(each):
    _, findings = findings_of(each, each.body)
    assert [finding.severity for finding in findings] == ["warning"]
    assert each.says in findings[0].message
    assert findings[0].fix


@pytest.mark.parametrize("each", [each for each in CASES if not each.says], ids=lambda each: each.name)
def test_it_is_not_found(each):
    _, findings = findings_of(each, each.body)
    assert [finding.message for finding in findings] == []


@pytest.mark.parametrize("each", [each for each in CASES if each.type not in NEEDS_SPANS], ids=lambda each: each.name)
def test_an_unsampled_one_finds_the_same(each):
    kinds = [finding.type for finding in unsampled(lambda: run(each, each.body))]
    assert kinds.count(each.type) == bool(each.says)


@pytest.mark.parametrize("each", [each for each in CASES if each.mended], ids=lambda each: each.name)
def test_the_fix_mends_it(each):
    _, findings = findings_of(each, each.mended)
    assert findings == []
