"""How long a task waited: for its ETA, in the broker, in the worker. Real workers, real brokers."""

from __future__ import annotations

import datetime
import time
from types import SimpleNamespace

import pytest
from celery.app.task import Context

from clew.seams.celery.message import headers
from clew.seams.celery.message.headers import PUBLISHED_AT, RECEIVED, Received, read_received, received_of
from clew.seams.celery.message.waiting import eta_attributes, waits
from tests.seams.celery.test_worker import Site, _connections, site  # noqa: F401 - a fixture

BROKERS = [pytest.param("redis", marks=pytest.mark.redis), pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)]
SECOND = 1_000_000_000


def waited(**more):
    """Milliseconds of a run that starts now, by attribute name, and the attributes noted."""
    attributes = {}
    request = SimpleNamespace(is_eager=False, headers=None, **more)
    found = waits(request, received_of(request), attributes)
    assert {key: attributes[key] for key in found.ms} == found.ms
    return {key.removeprefix("celery."): round(value / 1000) for key, value in attributes.items()}


def delivery(received, published, eta=0, number=1):
    now = time.time_ns()
    told = Received(now + received * SECOND, eta and now + eta * SECOND, 1, 2, number).text()
    return {RECEIVED: told, PUBLISHED_AT: str(now + published * SECOND)}


@pytest.mark.parametrize(
    ("times", "expected"),
    [
        (lambda: delivery(received=-3, published=-10), {"queue_ms": 7, "prefetch_ms": 3}),
        # In the worker's hands until its ETA, then two seconds for a process.
        (lambda: delivery(received=-9, published=-10, eta=-2), {"eta_ms": 8, "queue_ms": 1, "prefetch_ms": 2}),
        # The broker, or nobody, had it until after its ETA.
        (lambda: delivery(received=-1, published=-10, eta=-6), {"eta_ms": 4, "queue_ms": 5, "prefetch_ms": 1}),
        # An ETA that was over when it was sent.
        (lambda: delivery(received=-1, published=-10, eta=-60), {"eta_ms": 0, "queue_ms": 9, "prefetch_ms": 1}),
        # The sender's clock is ahead.
        (lambda: delivery(received=-1, published=5), {"queue_ms": 0, "prefetch_ms": 1, "clock_skew_ms": 6}),
        (lambda: {PUBLISHED_AT: "yesterday", RECEIVED: "soon"}, {}),
        (lambda: {PUBLISHED_AT: str(time.time_ns())}, {}),
        (lambda: {RECEIVED: delivery(-2, 0)[RECEIVED]}, {"prefetch_ms": 2}),
    ],
)
def test_the_waits_add_up_and_are_never_negative(times, expected):
    assert waited(**times()) == expected


@pytest.mark.parametrize(("seconds", "is_slow"), [(9, None), (11, True)])
def test_a_long_wait_in_the_queue_can_be_searched_for(seconds, is_slow):
    attributes = {}
    request = SimpleNamespace(is_eager=False, headers=None, **delivery(-1, -1 - seconds))
    waits(request, received_of(request), attributes)
    assert attributes.get("celery.queue_slow") is is_slow


def test_an_eager_run_has_not_waited():
    assert waits(Context({"is_eager": True}), None, {}).ms == {}


@pytest.mark.parametrize("eta", ["2026-01-01T00:00:00", "tomorrow"])
def test_an_eta_without_a_zone_is_no_wait(eta):
    assert eta_attributes(eta) == {}


def test_what_a_publish_asks_for(trace, app):
    app.tasks["add"].apply_async((1, 2), countdown=60)
    app.tasks["add"].apply_async((1, 2), eta=datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(hours=1))
    app.tasks["add"].delay(1, 2)
    asked = [span.attributes.get("celery.eta_ms") for span in trace.spans]
    assert 59_000 < asked[0] <= 60_000
    assert 3_590_000 < asked[1] <= 3_600_000
    assert asked[2] is None


@pytest.mark.parametrize("text", [None, 7, "", "1:2:3", "a:b:c:d:e", "1:2:3:4:5:6"])
def test_what_the_main_process_did_not_say_is_nothing(text):
    assert read_received(text) is None


@pytest.mark.parametrize("broker", BROKERS)
def test_a_worker_whose_only_child_is_busy(tmp_path, broker):
    """One at work, one in the worker, the third in the broker."""
    with site(tmp_path, broker, "grpc", "-P", "prefork", "-c", "1", "--prefetch-multiplier", "2") as here:
        for _ in range(4):
            here.app.tasks["nap"].delay(0.4)
        here.app.tasks["add"].apply_async((1, 2), countdown=1)
        here.gathered.wait_for(lambda all_: len([span for span in all_ if span.kind == "CONSUMER"]) >= 5)
        here.worker.stop()
        naps = sorted((run for run in here.gathered.runs() if run.name == "run/nap"), key=lambda run: run.start_ns)
        (late,) = [run for run in here.gathered.runs() if run.name == "run/add"]
    prefetched = [run.attributes["celery.prefetch_ms"] for run in naps]
    queued = [run.attributes["celery.queue_ms"] for run in naps]
    assert prefetched[0] < prefetched[1]
    assert prefetched[1] > 100
    assert queued[-1] > 100
    assert min(queued + prefetched) >= 0
    assert all("celery.clock_skew_ms" not in run.attributes for run in naps)
    assert 900 < late.attributes["celery.eta_ms"] <= 1000
    published = {
        span.attributes["messaging.message.id"]: span for span in here.trace.spans if span.name == "apply_async/nap"
    }
    for run in naps:
        sent = published[run.attributes["messaging.message.id"]]
        waits_ms = run.attributes["celery.queue_ms"] + run.attributes["celery.prefetch_ms"]
        assert sent.start_time / 1e6 + waits_ms <= run.start_ns / 1e6 + 5
        assert abs(run.start_ns / 1e6 - waits_ms - sent.end_time / 1e6) < 1000


@pytest.mark.parametrize("text", ["9" * 400, "-5", "1e9", 1 << 80, "", None, [], "x" * 10_000])
def test_a_forged_time_is_none(text):
    assert headers.read_time(text) == 0


@pytest.mark.parametrize("text", ["f" * 40 + ":1:0:g", f"0:{'9' * 300}:0:g", "0:-1:0:g", "0:1:-1:g", "0:1", None, 7])
def test_a_forged_chord_is_none(text):
    assert headers.read_chord(text) is None
