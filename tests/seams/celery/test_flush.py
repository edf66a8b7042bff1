"""However a process of a worker ends, spans of finished tasks arrive, also at a collector that is slow."""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.celery_site.worker import DEADLINE, answer_slowly
from tests.seams.celery.test_worker import Site, finished, site, wait_for_finished

pytestmark = pytest.mark.slow
SLOW_SECONDS = 2.5
REDIS, RABBITMQ = pytest.mark.redis, pytest.mark.rabbitmq
# Nothing is sent but by the flush, or all the time: an export is under way when the process wants to leave.
NEVER, ALWAYS = {"OTEL_BSP_SCHEDULE_DELAY": "3600000"}, {"OTEL_BSP_SCHEDULE_DELAY": "100"}


@pytest.fixture(autouse=True)
def _slow_collector(monkeypatch):
    answer_slowly(monkeypatch, SLOW_SECONDS)


def wait_until(is_true: Callable[[], object]) -> None:
    until = time.monotonic() + DEADLINE
    while not is_true() and time.monotonic() < until:
        time.sleep(0.05)


def children(here: Site) -> list[int]:
    pid = here.worker._process.pid
    return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def runs_of_finished(here: Site) -> list[str]:
    done = set(finished(here.worker))
    runs = [span.attributes["messaging.message.id"] for span in here.gathered.runs() if span.name.startswith("run/")]
    return sorted(each for each in runs if each in done)


def assert_nothing_is_lost(here: Site) -> None:
    """Exactly one run for every task the log says is finished."""
    expected = sorted(finished(here.worker))
    assert expected
    wait_until(lambda: len(runs_of_finished(here)) >= len(expected))  # what was sent is still being answered
    assert runs_of_finished(here) == expected
    assert "were lost" not in here.worker.log.read_text(errors="replace")


@pytest.mark.parametrize(
    ("broker", "protocol", "limit", "delay"),
    [
        pytest.param("redis", "grpc", "--max-tasks-per-child=3", ALWAYS, marks=REDIS),
        pytest.param("rabbitmq", "http", "--max-memory-per-child=1", ALWAYS, marks=RABBITMQ),
        ("filesystem", "grpc", "--max-tasks-per-child=3", NEVER),
    ],
)
def test_a_recycled_child(tmp_path, broker, protocol, limit, delay):
    with site(tmp_path, broker, protocol, "-c", "2", limit, environment=delay) as here:
        for _ in range(12):
            here.app.tasks["nap"].delay(0.05)
        wait_for_finished(here.worker, 12)
        here.worker.stop()
        assert_nothing_is_lost(here)


@pytest.mark.parametrize(
    ("broker", "protocol", "pool", "number", "grace"),
    [
        pytest.param("redis", "grpc", "prefork", signal.SIGTERM, "0", marks=REDIS, id="warm, prefork"),
        pytest.param("rabbitmq", "http", "threads", signal.SIGTERM, "0", marks=RABBITMQ, id="warm, threads"),
        pytest.param("rabbitmq", "grpc", "prefork", signal.SIGQUIT, "0", marks=RABBITMQ, id="cold, prefork"),
        pytest.param("redis", "http", "prefork", signal.SIGQUIT, "1", marks=REDIS, id="soft, prefork"),
        pytest.param("redis", "grpc", "solo", signal.SIGQUIT, "0", marks=REDIS, id="cold, solo"),
        pytest.param("rabbitmq", "grpc", "threads", signal.SIGQUIT, "0", marks=RABBITMQ, id="cold, threads"),
    ],
)
def test_a_shutdown_in_the_middle(tmp_path, broker, protocol, pool, number, grace):
    environment = {**ALWAYS, "CELERY_SITE_GRACE": grace}
    arguments = ("-P", pool, "-c", "2", "-I", "tests.seams.celery.leaving")
    with site(tmp_path, broker, protocol, *arguments, environment=environment) as here:
        for _ in range(50):
            here.app.tasks["nap"].delay(0.05)
        wait_for_finished(here.worker, 12)
        here.worker.stop(number)
        assert_nothing_is_lost(here)


@pytest.mark.rabbitmq
def test_autoscale_takes_children_away(tmp_path):
    environment = {**NEVER, "AUTOSCALE_KEEPALIVE": "0.5"}
    with site(tmp_path, "rabbitmq", "grpc", "--autoscale", "3,1", environment=environment) as here:
        for _ in range(40):
            here.app.tasks["nap"].delay(0.1)
        here.worker.wait_for_log("Scaling up")
        wait_for_finished(here.worker, 40)
        here.worker.wait_for_log("Scaling down")
        here.worker.stop()
        assert_nothing_is_lost(here)


METRICS_OF = re.compile(r'"process.pid": (\d+)')


def test_metrics_of_a_child_are_sent_too_and_say_whose_they_are(tmp_path):
    environment = {**NEVER, "OTEL_METRICS_EXPORTER": "console", "OTEL_METRIC_EXPORT_INTERVAL": "3600000"}
    arguments = ("-c", "1", "--max-tasks-per-child", "1")
    with site(tmp_path, "filesystem", "grpc", *arguments, environment=environment) as here:
        for number in range(2):
            here.app.tasks["add"].delay(number, 1)
        wait_for_finished(here.worker, 2)
        here.worker.stop()
        log = here.worker.log.read_text(errors="replace")
    pids = set(METRICS_OF.findall(log))
    assert len(pids - {str(here.worker._process.pid)}) >= 2, log
    assert "flower.task.runtime.seconds" in log


@pytest.mark.redis
def test_a_child_that_is_killed_has_sent_what_it_had_finished(tmp_path):
    """Of tasks that ended more than half a second, and an answer, before."""
    with site(tmp_path, "redis", "grpc", "-c", "1") as here:
        for number in range(5):
            here.app.tasks["add"].delay(number, 1)
        wait_for_finished(here.worker, 5)
        time.sleep(1.5)
        os.kill(children(here)[0], signal.SIGKILL)
        here.gathered.wait_for(lambda _: len(runs_of_finished(here)) >= 5)
        assert runs_of_finished(here) == sorted(finished(here.worker))
        here.worker.stop()


def tell_a_child(here: Site) -> None:
    os.kill(children(here)[0], signal.SIGTERM)


def tell_everybody(here: Site) -> None:
    os.killpg(here.worker._process.pid, signal.SIGTERM)


def tell_everybody_again_and_again(here: Site) -> None:
    """A deploy that is in a hurry."""
    for _ in range(3):
        tell_everybody(here)
        time.sleep(0.7)


@pytest.mark.parametrize(
    ("broker", "protocol", "tell"),
    [
        pytest.param("redis", "grpc", tell_a_child, marks=REDIS),
        pytest.param("rabbitmq", "http", tell_everybody, marks=RABBITMQ),
        pytest.param("redis", "grpc", tell_everybody_again_and_again, marks=REDIS),
    ],
)
def test_sigterm_to_idle_children(tmp_path, broker, protocol, tell):
    with site(tmp_path, broker, protocol, "-c", "2", environment=NEVER) as here:
        for _ in range(12):
            here.app.tasks["nap"].delay(0.05)
        wait_for_finished(here.worker, 12)
        tell(here)
        here.worker.stop()
        assert_nothing_is_lost(here)
