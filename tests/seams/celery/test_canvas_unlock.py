"""A chord whose backend does not count: `celery.chord_unlock` asks again and again, then sends the body."""

from __future__ import annotations

import pytest
from celery import chord

from tests.seams.celery.in_process import runs_of, until
from tests.seams.celery.test_canvas import assert_linked, sent, working


@pytest.fixture(scope="module")
def app(tmp_path_factory):
    with working(backend=f"file://{tmp_path_factory.mktemp('results')}") as app:
        yield app


def test_the_body_is_linked_to_the_header_all_the_same(trace, app):
    add, total = app.tasks["add"], app.tasks["total"]
    (body,) = sent(trace, chord([add.s(number, 1) for number in range(5)], total.s(), app=app), "total")
    header = runs_of(trace.spans, "add")
    assert len(header) == 5
    assert_linked(trace, body, header)
    until(lambda: runs_of(trace.spans, "celery.chord_unlock"))  # the body may be over before the run that sent it
    assert len({run.parent.span_id for run in runs_of(trace.spans, "celery.chord_unlock")}) == 1
