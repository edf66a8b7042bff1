"""A soft time limit is seen by the task, wherever it strikes."""

from __future__ import annotations

import signal
import sys
import time

import billiard.pool
import pytest

from clew.engine import isolation
from clew.seams.celery import time_limit
from clew.testing import tracing
from tests.seams.celery import limits
from tests.seams.celery.test_worker import _connections, site, wait_for_finished  # noqa: F401 - a fixture


@pytest.mark.redis
@pytest.mark.parametrize(("name", "count", "lost"), [("logs", 20, 2), ("sends", 20, 2)])
def test_no_limit_is_lost_in_clews_own_code(tmp_path, name, count, lost):
    """One that strikes in Celery's dispatch of its signals, or in a finalizer, is lost without clew as well."""
    with site(tmp_path, "redis", "grpc", "-P", "prefork", "-c", "2", "-I", limits.__name__) as here:
        limits.declare(here.app)
        for number in range(count):
            here.app.send_task(name, (str(tmp_path), number))
        # One whose limit strikes in Celery's dispatch raises there, and does not succeed.
        wait_for_finished(here.worker, count, "(?:succeeded|raised unexpected)")
        here.worker.stop()
    assert count - lost <= len(list(tmp_path.glob("limit-*"))) <= count


def frame_in(code, module):
    """A frame of that module that has been interrupted."""
    held = {"__name__": module, "sys": sys}
    exec(code, held)
    return held["frame"]


OWN = "frame = sys._getframe()"


def test_what_was_interrupted():
    assert time_limit.is_ours(frame_in(OWN, "clew.seams.celery.run"))
    assert not time_limit.is_ours(frame_in(OWN, "shop.tasks"))
    assert not time_limit.is_ours(frame_in(OWN, "kombu.messaging"))
    assert not time_limit.is_ours(frame_in(OWN, "__main__"))
    assert not time_limit.is_ours(None)
    # The standard library's, on whose behalf? This test's.
    assert not time_limit.is_ours(frame_in(OWN, "logging"))


class Limit(Exception):
    pass


def test_it_waits_until_our_code_is_left_and_is_for_no_other_run(monkeypatch):
    came, run, others = [], ["one"], []

    def raising(signum, frame):
        raise Limit

    monkeypatch.setattr(time_limit, "_running", lambda: run[0])
    monkeypatch.setattr(time_limit, "is_ours", lambda frame: len(came) < 3)
    (place,) = time_limit.SEAM.patches
    handler = place.wrap(raising)

    def handle(number, frame):
        came.append(number)
        if others and len(came) == 2:  # not sooner: a busy machine may be at the second before this is said
            run[0] = "another"
        handler(number, frame)

    before = signal.signal(signal.SIGUSR1, handle)
    try:
        with tracing():
            handle(signal.SIGUSR1, None)
            with pytest.raises(Limit):
                time.sleep(10)
            assert len(came) == 3
            came.clear()
            others.append(True)
            handle(signal.SIGUSR1, None)
            until = time.monotonic() + 10
            while time_limit._Deferred.times and time.monotonic() < until:
                time.sleep(0.01)
            assert len(came) == 2
            assert time_limit._Deferred.times == 0
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_what_a_signals_handler_raises_in_our_code_is_the_applications(monkeypatch):
    """A library's own time limit, by SIGALRM."""
    monkeypatch.setattr(isolation, "is_strict", False)

    def handler(number, frame):
        raise Limit

    try:
        handler(signal.SIGALRM, sys._getframe())
    except Limit as error:
        raised = error
    with pytest.raises(Limit):
        isolation.report(raised, "somewhere")
    isolation.report(ValueError("ours"), "somewhere else")


def test_the_undo_restores_the_identical_object():
    before = billiard.pool.soft_timeout_sighandler
    with tracing():
        assert billiard.pool.soft_timeout_sighandler is not before
    assert billiard.pool.soft_timeout_sighandler is before
