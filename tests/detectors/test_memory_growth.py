"""The memory of a worker's child: series made by hand for the trend, real children for the rest."""

from __future__ import annotations

import gc
import math
import os
import random
import re
from itertools import pairwise

import pytest
from django.db import connection

from clew.detectors import memory_growth
from clew.detectors.memory_trend import Trend
from clew.engine import configuration
from clew.settings import Settings
from clew.story import memory
from clew.story.detector import watchers
from clew.story.local_trace import LocalTrace
from clew.story.memory import Reading
from clew.story.task_run import TaskRun
from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.detectors import troubles
from tests.detectors.shared import found, said_by, unsampled
from tests.seams.celery.test_worker import _connections, site, wait_for_finished  # noqa: F401 - a fixture

TYPE = "memory_growth"
MIB = 1 << 20
FILLS = "; it may be a cache that fills, or a long warm-up, unless it goes on"
BASE = 100 * MIB


@pytest.fixture(autouse=True)
def _reset():
    memory_growth._reset()
    yield
    memory_growth._reset()


def noise(number, size=MIB):
    return random.Random(number).randrange(size)


def first_growth(series, least=32 * MIB):
    """Where a trend is seen, and which."""
    trend = Trend()
    for number, value in enumerate(series):
        if trend.add(int(value)) and trend.risen >= least:
            growth = trend.growth()
            if growth is not None and growth.gained >= least:
                return number, growth
    return None


GROWING = {
    "steady": lambda n: n * 512 * 1024,
    "slow": lambda n: n * 4 * 1024,
    "with noise": lambda n: n * 64 * 1024 + noise(n, 16 * MIB),
    "a leak below a saw": lambda n: n * 64 * 1024 + (n % 50) * MIB,
    "every tenth task": lambda n: n // 10 * MIB,
    "in steps of an allocator": lambda n: n // 60 * 4 * MIB,
    "faster and faster": lambda n: n * n * 64,
    "after an import": lambda n: (n > 10) * 50 * MIB + n * 64 * 1024,
    "after a time of rest": lambda n: max(n - 300, 0) * 256 * 1024,
    "after memory was given back": lambda n: (n < 100) * 200 * MIB + max(n - 100, 0) * 256 * 1024,
}


@pytest.mark.parametrize("name", GROWING)
def test_detects_a_trend(name):
    seen = first_growth(BASE + GROWING[name](n) for n in range(20_000))
    assert seen is not None
    assert seen[1].gained >= 32 * MIB
    assert 0 < seen[1].readings <= seen[0] + 1


STILL = {
    "nothing": lambda n: 0,
    "noise": lambda n: noise(n, 200 * MIB),
    "one big allocation": lambda n: (n > 2000) * 500 * MIB,
    "two": lambda n: (n > 2000) * 100 * MIB + (n > 4000) * 100 * MIB,
    "warm-up": lambda n: min(n, 20) * 20 * MIB,
    "a cache that fills and stays": lambda n: min(n * 0.5, 30) * MIB,
    "a cache that fills ever more slowly": lambda n: 40 * MIB * (1 - math.exp(-n / 500)),
    "a saw of the garbage collector": lambda n: (n % 120) * 256 * 1024,
    "a slow saw": lambda n: (n % 100) * 200 * 1024,
    "a rare big task": lambda n: (n % 97 == 0) * 500 * MIB,
    "falling": lambda n: 500 * MIB - n * 16 * 1024,
    "logarithmic": lambda n: 10 * MIB * math.log(n + 1),
}


@pytest.mark.parametrize("name", STILL)
def test_no_false_positive(name):
    assert first_growth(BASE + STILL[name](n) for n in range(20_000)) is None


def test_its_size_does_not_depend_on_the_series():
    trend = Trend()
    for number in range(100_000):
        trend.add(number)
    assert len(trend._lows) < 24


class Root:
    """A span nobody records; readings are made by hand."""

    def __init__(self):
        self.span = self
        self.events = []

    def is_recording(self):
        return True

    def note(self, key, value):
        pass

    def set_attributes(self, attributes):
        pass

    def add_event(self, name, attributes, timestamp=None):
        self.events.append(attributes)


def run_of(app, name, before, after):
    """One run of a task between these readings; what is said of it."""
    task = app.tasks[name]
    root = Root()
    local = LocalTrace(root, 10)
    reading = memory.READING.put(local, Reading(before))
    reading._after = after
    run = TaskRun(local, task, task.request)
    run.outcome = "succeeded"
    memory_growth.DETECTOR.on_task_end(run)
    return [] if local.findings is None else list(local.findings)


@pytest.fixture
def app(monkeypatch):
    monkeypatch.setattr(configuration, "settings", Settings(memory_growth_threshold_mb=32))
    return make_app()


def test_detects_it_and_says_so_again_when_it_has_doubled(app):
    said = {}
    gc.collect()
    for number in range(1000):
        before = BASE + number * MIB // 4
        found_now = run_of(app, "nap", before, before + MIB // 4)
        found_now += run_of(app, "add", before + MIB // 4, before + MIB // 4)
        if found_now:
            (said[number],) = found_now
    first, *later = said.values()
    assert first.message == (
        f"process {os.getpid()} has gained {first.evidence['gained_mib']:.0f} MiB over "
        f"{first.evidence['gained_mib'] * 8:.0f} tasks, 128 KiB a task, most of it (100%) in runs of nap; it holds "
        f"{first.evidence['resident_mib']:.0f} MiB after {first.evidence['tasks']} tasks{FILLS}"
    )
    assert [each.severity for each in said.values()] == ["information", *["warning"] * len(later)]
    assert later[0].message.endswith(f"MiB after {later[0].evidence['tasks']} tasks")
    assert first.fix.startswith("look at what nap keeps from run to run: ")
    assert "worker_max_memory_per_child" in first.fix
    assert first.evidence["gained_mib"] >= 32
    gained = [each.evidence["gained_mib"] for each in said.values()]
    assert all(after >= 2 * before for before, after in pairwise(gained))
    assert 1 <= len(later) <= 3


FILLING = {
    "a cache that fills for long": lambda n: min(n * 256 * 1024, 50 * MIB),
    "a warm-up of hundreds of tasks": lambda n: min(n * 128 * 1024, 40 * MIB),
    "two caches": lambda n: min(n * 64 * 1024, 30 * MIB) + min(n * 128 * 1024, 25 * MIB),
}


@pytest.mark.parametrize("name", FILLING)
def test_no_warning_for_what_fills_and_stays(app, name):
    gc.collect()
    said = []
    for number in range(3000):
        held = BASE + int(FILLING[name](number))
        said += run_of(app, "nap", held, held)
    assert [each.severity for each in said] == ["information"] * len(said)


def test_detects_what_no_task_accounts_for(app):
    said = []
    for number in range(400):
        held = BASE + number * MIB
        said += run_of(app, "add", held, held)
    assert "and not in the runs of one task; " in said[0].message
    assert "look at what its tasks keep" in said[0].fix.replace("keeps", "keep")
    assert "task" not in said[0].evidence


def test_detects_what_may_be_garbage_as_information(app, monkeypatch):
    monkeypatch.setattr(memory_growth, "_full_collections", lambda: 7)
    memory_growth._reset()
    said = [each for n in range(400) for each in run_of(app, "add", BASE + n * MIB, BASE + n * MIB)]
    assert said[0].severity == "information"
    assert said[0].message.endswith("; some of it may be garbage, no full collection has run meanwhile")


@pytest.mark.django_db
def test_detects_queries_kept_by_debug(app, settings):
    settings.DEBUG = True
    said = []
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1")
    try:
        for number in range(400):
            said += run_of(app, "add", BASE + number * MIB, BASE + number * MIB + MIB)
    finally:
        connection.queries_log.clear()
    assert said[0].fix.startswith(
        "set DEBUG = False in the worker: with it Django keeps the queries of every connection"
    )


def test_no_false_positive_where_it_is_switched_off(app, monkeypatch):
    monkeypatch.setattr(configuration, "settings", Settings(memory_growth_threshold_mb=0))
    assert not [finding for n in range(400) for finding in run_of(app, "add", BASE + n * MIB, BASE + (n + 1) * MIB)]


def test_no_false_positive_for_eager_runs():
    """The process is the caller's: a request or a test may be what leaks."""
    app = make_app(task_always_eager=True)
    troubles.declare(app)
    try:
        with tracing(memory_growth_threshold_mb=4) as trace:
            assert watchers.on_task_end
            for _ in range(100):
                app.tasks["leaks"].delay()
        assert not found(trace, TYPE)
    finally:
        troubles.kept.clear()


def test_tasks_without_number_do_not_fill_the_memory(app):
    for number in range(300):
        app.tasks["add"].name = f"add {number}"
        run_of(app, "add", BASE, BASE)
    assert len(memory_growth._processes.of_tasks.gained_by) == 200


def _said_by_child(folder, name, count):
    """Messages of the findings of a real child that runs a task so often, in the order of its runs."""
    environment = {"CLEW_MEMORY_GROWTH_THRESHOLD_MB": "16", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    with site(
        folder, "redis", "grpc", "-P", "prefork", "-c", "1", "-I", troubles.__name__, environment=environment
    ) as here:
        for _ in range(count):
            here.app.send_task(name)
        wait_for_finished(here.worker, count)
        here.worker.stop()
        runs = sorted(here.gathered.runs(), key=lambda run: run.start_ns)
    assert len(runs) == count
    return [(number, each) for number, run in enumerate(runs) for each in said_by(run, TYPE)], runs


@pytest.mark.redis
def test_detects_a_real_child_that_leaks(tmp_path):
    said, runs = _said_by_child(tmp_path, "leaks", 160)
    assert 1 <= len(said) <= 2
    number, finding = said[0]
    assert 60 <= number < 160
    assert re.fullmatch(
        r"process \d+ has gained \d+ MiB over \d+ tasks, \d+ KiB a task, most of it \(\d+%\) in runs of leaks; it "
        rf"holds \d+ MiB after \d+ tasks{FILLS}(; some of it may be garbage, no full collection has run meanwhile)?",
        finding["clew.finding.about"],
    )
    assert finding["clew.finding.pid"] == runs[number].resource["process.pid"]
    assert 400 < finding["clew.finding.per_task_kib"] < 600
    assert finding["clew.finding.task"] == "leaks"
    assert sum(run.attributes["process.memory.delta"] for run in runs) > 60 * MIB


@pytest.mark.redis
@pytest.mark.parametrize(("name", "count"), [("fills_a_cache", 120), ("forgets", 100)])
def test_no_false_positive_for_a_real_child(tmp_path, name, count):
    assert _said_by_child(tmp_path, name, count)[0] == []


def test_detects_it_in_unsampled_runs(app, monkeypatch):
    """The seam reads for them, too; they are not eager where a worker runs them."""
    eager = make_app(task_always_eager=True)
    troubles.declare(eager)
    monkeypatch.setattr(TaskRun, "is_eager", False)
    monkeypatch.setenv("CLEW_MEMORY_GROWTH_THRESHOLD_MB", "16")
    try:
        findings = unsampled(lambda: [eager.tasks["leaks"].delay() for _ in range(130)])
    finally:
        troubles.kept.clear()
    assert TYPE in [each.type for each in findings]
