"""A chord's messages are told what its body is to say; the canvas itself stays as the application has made it."""

from __future__ import annotations

import json
import uuid

import pytest
from celery import chain, chord, group
from opentelemetry import trace as otel

from clew.seams.celery.message import chords
from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.seams.celery.headers_sent import bodies_in, sent_messages
from tests.seams.celery.in_process import runs_of, until
from tests.seams.celery.test_canvas import assert_linked, sent, working


@pytest.fixture(scope="module")
def app():
    with working(backend="cache+memory://") as app:
        yield app


def chord_of(app, body=None):
    add, total = app.tasks["add"], app.tasks["total"]
    return chord([add.s(1, 1), chain(add.s(2, 2), add.s(3))], body or total.s().set(headers={"mine": "1"}), app=app)


CANVASES = {
    "chord": chord_of,
    "group | task": lambda app: (
        group(app.tasks["add"].s(1, 1), app.tasks["add"].s(2, 2), app=app) | app.tasks["total"].s()
    ),
    "nested": lambda app: chord([chord_of(app), chord_of(app)], app.tasks["total"].s(), app=app),
    "a chain as a body": lambda app: chord_of(app, chain(app.tasks["total"].s(), app.tasks["add"].s(5))),
    "a group as a body": lambda app: chord_of(app, group(app.tasks["total"].s(), app.tasks["total"].s())),
    "a chord as a body": lambda app: chord_of(app, chord_of(app)),
    "in a chain": lambda app: chain(app.tasks["add"].s(1, 1), chord_of(app), app.tasks["add"].s(4), app=app),
}


def words(signature):
    return json.dumps(signature, default=str)


@pytest.mark.parametrize("name", CANVASES)
def test_a_canvas_that_is_frozen_or_sent_holds_nothing_of_clews(trace, name):
    """Sent to nobody: by a broker in memory."""
    app = make_app(queue=f"clew-{uuid.uuid4().hex[:12]}", backend="cache+memory://")
    canvas, other = CANVASES[name](app), CANVASES[name](app)
    mine = words(canvas).count('"mine"')
    with otel.get_tracer("test").start_as_current_span("view"):
        other.delay()
        canvas.freeze()
        assert chords._frozen
        canvas.delay()
    for each in (canvas, other):
        assert "clew" not in words(each)
        assert words(each).count('"mine"') >= mine


@pytest.mark.parametrize("name", [name for name in CANVASES if name != "in a chain"])
def test_every_body_in_a_message_is_told(trace, name):
    app = make_app(queue=f"clew-{uuid.uuid4().hex[:12]}", backend="cache+memory://")
    with sent_messages(app) as messages, otel.get_tracer("test").start_as_current_span("view"):
        CANVASES[name](app).delay()
    told = [body for message in messages for body in bodies_in(message)]
    assert told
    assert all("clew-chord" in words(body) for body in told)


def test_a_generators_header_is_not_used_up_by_a_message(trace, app):
    add, total = app.tasks["add"], app.tasks["total"]
    header = (add.s(number, 1) for number in range(3))
    (body,) = sent(trace, chord(header, chord([add.si(1, 1)], total.s(), app=app), app=app), "total")
    assert body.attributes["celery.chord.size"] == 1


def test_a_signature_that_is_saved_and_sent_again_has_the_links_of_its_own_sending(trace, app):
    canvas = chord([app.tasks["add"].s(1, 1), app.tasks["add"].s(2, 2)], app.tasks["errback"].s(), app=app)
    saved = json.loads(json.dumps(canvas))
    sent(trace, canvas, "errback")
    with tracing() as again:
        (body,) = sent(again, app.signature(saved), "errback")
        until(lambda: len(runs_of(again.spans, "add")) >= 2)
        assert_linked(again, body, runs_of(again.spans, "add"))


def test_what_is_known_of_headers_is_bounded(monkeypatch):
    monkeypatch.setattr(chords, "_MAX_FROZEN", 2)
    for number in range(5):
        chords.remember(number, chords.Chord(str(number), 1, 0, 0))
    assert list(chords._frozen) == [3, 4]
    chords.reset()
