"""The advice with a line in it: pasted in the place of the line it is about, and run; the finding is gone."""

from __future__ import annotations

import inspect
import textwrap

import pytest
from django.contrib.auth.models import Group

from clew.testing import tracing
from tests.detectors.others import case, early_publishes, hooks
from tests.detectors.shared import found
from tests.seams.django.test_transaction import served

pytestmark = [pytest.mark.urls("tests.seams.django.test_transaction"), pytest.mark.django_db(transaction=True)]
# What a method or a function of its own needs is two changes, and said as two.
BY_HAND = ("a_method_that_reads_an_attribute", "an_attribute", "in_a_decorated_function")
CASES = [
    each
    for each in case.CASES
    if each.says and each.type in (early_publishes.TYPE, hooks.TYPE) and each.body.__name__ not in BY_HAND
]


def lines_of(fix):
    """The line or lines a fix offers."""
    said = fix.partition(": ")[2]
    first, _, second = said.partition(", or transaction.on_commit")
    return [first, f"transaction.on_commit{second}"] if second else [first]


def pasted(body, line_number, text):
    """The body with the statement of one line replaced."""
    lines, first = inspect.getsourcelines(body)
    at = line_number - first
    indent = lines[at][: len(lines[at]) - len(lines[at].lstrip())]
    lines[at] = f"{indent}{text}\n"
    start = next(i for i, line in enumerate(lines) if line.startswith("def "))
    space = {**body.__globals__, "functools": __import__("functools")}
    exec(compile(textwrap.dedent("".join(lines[start:])), "<pasted>", "exec"), space)
    return space[body.__name__]


def findings_of(each, body):
    Group.objects.all().delete()
    with tracing() as trace:
        answer = served(body)
    sent = sorted(span.name for span in trace.spans if span.name.startswith("apply_async/"))
    return answer.status_code, sent, found(trace, each.type)


@pytest.mark.parametrize("each", CASES, ids=lambda each: each.name)
def test_the_fix_pastes(each):
    status, sent, (finding, *_) = findings_of(each, each.body)
    offered = lines_of(finding.fix)
    assert offered
    for text in offered:
        assert "..." not in text
        again, sent_now, left = findings_of(each, pasted(each.body, finding.site.line, text))
        assert (again, sent_now, left) == (status, sent, [])
