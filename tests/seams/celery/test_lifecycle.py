"""Real workers, real brokers: how a worker starts and ends, and why the processes of its pool come and go."""

from __future__ import annotations

import json
import os
import re
import signal
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import billiard.pool
import billiard.popen_fork
import celery
import celery.concurrency.prefork
import celery.signals
import pytest
from celery.contrib.testing import worker as testing
from celery.exceptions import ImproperlyConfigured
from celery.worker import WorkController

from clew.cli.view.receiver import SpanRecord
from clew.engine import isolation
from clew.seams.celery import lifecycle
from clew.seams.celery.lifecycle import child as lifecycle_child
from clew.seams.celery.lifecycle import worker as lifecycle_worker
from clew.testing import tracing
from tests.celery_site.worker import DEADLINE, Gathered, Receiver, Worker
from tests.seams.celery import fates, lives
from tests.seams.celery.test_worker import URLS, Site, _connections, site, wait_for_finished  # noqa: F401 - a fixture

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:Call to 'get_connection':DeprecationWarning")]

MODULES = ("-I", lives.__name__)
MODERN = pytest.mark.skipif(not hasattr(WorkController, "wait_for_soft_shutdown"), reason="Celery 5.5 and later")


def normalised(span: SpanRecord) -> dict[str, Any]:
    """Its attributes, without what differs from run to run."""
    shown = dict(span.attributes)
    shown["celery.hostname"] = re.sub(r"^clew-\w+@.+", "<worker>", str(shown["celery.hostname"]))
    if "celery.child.pid" in shown:
        assert shown.pop("celery.child.pid") > 1
    if "celery.child.max_rss_bytes" in shown:
        assert shown.pop("celery.child.max_rss_bytes") > 1 << 20
    return {key.removeprefix("celery."): value for key, value in shown.items()}


def told(gathered: Gathered, name: str) -> list[SpanRecord]:
    found = [span for span in gathered.spans if span.name == name]
    above = {(span.trace_id, span.span_id) for span in gathered.spans if span.name == "worker start"}
    for span in found:
        assert (span.kind, span.scope) == ("INTERNAL", lifecycle.__name__)
        assert not span.parent_span_id or (name == "child start" and (span.trace_id, span.parent_span_id) in above)
        assert span.end_ns >= span.start_ns
    return sorted(found, key=lambda span: span.end_ns)


class Case(NamedTuple):
    """What is done to a worker, and what it must tell.

    Args:
        arguments: of `celery worker`.
        act: from when it is ready until it has ended.
        exits: reason, tasks done, status, code or signal of each child's exit, in any order.
        stop: attributes of its own, but for those that depend on how fast the machine is.
        conf: of the app.
    """

    arguments: tuple[str, ...]
    act: Callable[[Site, Path], Any]
    exits: list[tuple[str, int, str, Any]]
    stop: dict[str, Any]
    conf: dict[str, Any] = {}


def _run(count: int) -> Callable[[Site, Path], None]:
    def act(here: Site, folder: Path) -> None:
        for number in range(count):
            here.app.tasks["add"].delay(number, 1)
        wait_for_finished(here.worker, count)
        # The log speaks before the result is with the main process.
        here.gathered.wait_for(lambda all_: sum(span.name == "run/add" for span in all_) >= count)
        here.worker.stop()

    return act


def _started(here: Site, folder: Path, *more_s: float) -> None:
    """Send `hang`, wait for it."""
    file, until = folder / uuid.uuid4().hex, time.monotonic() + DEADLINE
    here.app.tasks["hang"].delay(str(file), *more_s)
    while not file.exists():
        assert time.monotonic() < until, here.worker.log.read_text()
        time.sleep(0.02)


def _stop(*numbers: int, pauses_s: float = 1.0) -> Callable[[Site, Path], None]:
    """Stop it in the middle of a task, by one signal after the other."""

    def act(here: Site, folder: Path) -> None:
        _started(here, folder)
        for number in numbers[:-1]:
            here.worker._process.send_signal(number)
            time.sleep(pauses_s)
        here.worker.stop(numbers[-1])

    return act


def _nap_and_quit(here: Site, folder: Path) -> None:
    _started(here, folder, 2)
    here.worker.stop(signal.SIGQUIT)


def _hog(here: Site, folder: Path) -> None:
    here.app.send_task("hog", (300,))
    here.app.tasks["add"].delay(1, 2)
    wait_for_finished(here.worker, 2)
    here.worker.stop()


def _lose(name: str) -> Callable[[Site, Path], None]:
    def act(here: Site, folder: Path) -> None:
        here.app.send_task(name)
        here.gathered.wait_for(lambda all_: any(span.name == "child exit" for span in all_))
        here.worker.stop()

    return act


def _scale(here: Site, folder: Path) -> None:
    for _ in range(6):
        here.app.tasks["nap"].delay(0.7)
    wait_for_finished(here.worker, 6)
    here.gathered.wait_for(lambda all_: sum(span.name == "child exit" for span in all_) >= 1)
    here.worker.stop()


def _shrink(here: Site, folder: Path) -> None:
    to = [f"{here.app.conf.task_default_queue}@{os.uname().nodename}"]
    assert here.app.control.pool_shrink(1, destination=to, reply=True, timeout=DEADLINE, limit=1)
    here.gathered.wait_for(lambda all_: sum(span.name == "child exit" for span in all_) >= 1)
    here.worker.stop()


def _restart(here: Site, folder: Path) -> None:
    to = [f"{here.app.conf.task_default_queue}@{os.uname().nodename}"]
    for number in range(2):
        here.app.tasks["add"].delay(number, 1)
    wait_for_finished(here.worker, 2)
    (reply,) = here.app.control.pool_restart(destination=to, reply=True, timeout=DEADLINE, limit=1)
    assert "ok" in reply[to[0]], reply
    here.gathered.wait_for(lambda all_: sum(span.name == "child exit" for span in all_) >= 1)
    here.app.tasks["add"].delay(3, 1)
    wait_for_finished(here.worker, 3)
    here.worker.stop()


def _shut_down_from_afar(here: Site, folder: Path) -> None:
    here.app.tasks["add"].delay(3, 1)
    wait_for_finished(here.worker, 1)
    here.app.control.shutdown(destination=[f"{here.app.conf.task_default_queue}@{os.uname().nodename}"])
    here.gathered.wait_for(lambda all_: any(span.name == "worker stop" for span in all_))


def _shutdown(how: str = "warm", **more: Any) -> dict[str, Any]:
    return {
        "shutdown": how,
        "shutdown.steps": (how,),
        "shutdown.signals": ("SIGTERM",),
        "shutdown.restored_count": 0,
        **{f"shutdown.{key}": value for key, value in more.items()},
    }


ONE = ("-P", "prefork", "-c", "1", *MODULES)
LATE = {"task_acks_late": True}
OVER = ("shutdown", 0, "UNSET", 0)
COLD = [("shutdown", 0, "UNSET", "SIGTERM")]
CASES = {
    "recycled by tasks": Case(
        (*ONE, "--max-tasks-per-child", "2"),
        _run(5),
        [("max_tasks_per_child", 2, "UNSET", 155)] * 2 + [("shutdown", 1, "UNSET", 0)],
        _shutdown(),
    ),
    "recycled by memory": Case(
        (*ONE, "--max-memory-per-child", "250000"),
        _hog,
        [("max_memory_per_child", 1, "UNSET", 155), ("shutdown", 1, "UNSET", 0)],
        _shutdown(),
    ),
    "killed": Case(ONE, _lose("killed"), [("signal", 0, "ERROR", "SIGKILL"), OVER], _shutdown()),
    "gone": Case(ONE, _lose("gone"), [("exit_code", 0, "ERROR", 7), OVER], _shutdown()),
    "hard limit": Case(ONE, _lose("hard"), [("hard_time_limit", 0, "ERROR", "SIGKILL"), OVER], _shutdown()),
    "autoscaled": Case(
        ("-P", "prefork", "--autoscale", "2,1", *MODULES),
        _scale,
        [("autoscale", 3, "UNSET", "SIGTERM"), ("shutdown", 3, "UNSET", 0)],
        _shutdown(),
    ),
    "shrunk": Case(
        ("-P", "prefork", "-c", "2", *MODULES),
        _shrink,
        [("pool_shrink", 0, "UNSET", "SIGTERM"), OVER],
        _shutdown(),
    ),
    "restarted": Case(
        # A setting that is read before modules are imported.
        (*ONE, "--", "worker.pool_restarts=1"),
        _restart,  # its own way of waking the child counts as a task
        [("pool_restart", 3, "UNSET", 0), ("shutdown", 1, "UNSET", 0)],
        _shutdown(),
    ),
    "shut down from afar": Case(ONE, _shut_down_from_afar, [("shutdown", 1, "UNSET", 0)], _shutdown(signals=None)),
    "cold": Case(ONE, _stop(signal.SIGQUIT), COLD, _shutdown("cold", running_count=1, signals=("SIGQUIT",))),
    "warm, then cold": Case(
        ONE,
        _stop(signal.SIGTERM, signal.SIGQUIT),
        COLD,
        _shutdown("cold", running_count=1, steps=("warm", "cold"), signals=("SIGTERM", "SIGQUIT")),
    ),
    "interrupted twice": Case(
        ONE,
        _stop(signal.SIGINT, signal.SIGINT),
        COLD,
        _shutdown("cold", running_count=1, steps=("warm", "cold"), signals=("SIGINT", "SIGINT")),
    ),
    "cold, acknowledged late": Case(
        ONE,
        _stop(signal.SIGQUIT),
        COLD,
        _shutdown("cold", running_count=1, signals=("SIGQUIT",), restored_count=1),
        LATE,
    ),
    "soft": Case(
        ONE,
        _nap_and_quit,
        [("shutdown", 1, "UNSET", None)],
        _shutdown("soft", running_count=1, signals=("SIGQUIT",)),
        {"worker_soft_shutdown_timeout": 30.0},
    ),
    "soft, too short": Case(
        ONE,
        _stop(signal.SIGQUIT),
        COLD,
        _shutdown("soft", running_count=1, signals=("SIGQUIT",)),
        {"worker_soft_shutdown_timeout": 1.0},
    ),
    "soft, then cold": Case(
        ONE,
        _stop(signal.SIGQUIT, signal.SIGQUIT),
        COLD,
        _shutdown("cold", running_count=1, steps=("soft", "cold"), signals=("SIGQUIT", "SIGQUIT")),
        {"worker_soft_shutdown_timeout": 4.0},
    ),
}
# Before Celery 5.5 a warm shutdown cannot be hurried, a cold one acknowledges what it cuts short, and none is soft.
MODERN_CASES = {name for name in CASES if name.startswith("soft")}
MODERN_CASES |= {"warm, then cold", "interrupted twice", "cold, acknowledged late"}
WORKERS = [
    pytest.param(name, broker, marks=[getattr(pytest.mark, broker), *([MODERN] if name in MODERN_CASES else [])])
    for number, name in enumerate(CASES)
    for broker in (
        ("redis", "rabbitmq") if name in ("recycled by tasks", "cold") else (("redis", "rabbitmq")[number % 2],)
    )
]


@pytest.mark.parametrize(("name", "broker"), WORKERS)
def test_each_end_is_told(tmp_path, monkeypatch, name, broker):
    case = CASES[name]
    monkeypatch.setenv("AUTOSCALE_KEEPALIVE", "1")
    more = {"OTEL_BSP_SCHEDULE_DELAY": "100", "CLEW_DETAIL": "all", lives.CONF: json.dumps(case.conf)}
    with site(tmp_path, broker, "grpc", *case.arguments, environment=more) as here:
        for module in (lives, fates):
            module.declare(here.app)
        here.app.conf.update(case.conf)
        case.act(here, tmp_path)
        exits, (stop,) = told(here.gathered, "child exit"), told(here.gathered, "worker stop")
        starts, begins = told(here.gathered, "child start"), told(here.gathered, "worker start")
    shown = [normalised(span) for span in exits]
    seen = [
        (
            each["child.exit_reason"],
            each["child.task_count"],
            span.status,
            each.get("child.signal", each.get("child.exit_code")),
        )
        for each, span in zip(shown, exits, strict=True)
    ]
    if (
        name == "soft"
    ):  # the pool is closed, or terminated, whichever comes first; the task's result counts, or came too late
        seen = [(each[0], 1, each[2], None) for each in seen]
    assert sorted(seen, key=str) == sorted(case.exits, key=str)
    ended = normalised(stop)
    assert {key: ended.get(key) for key in case.stop} == case.stop
    assert [normalised(span)["worker.outcome"] for span in begins] == ["ready"]
    assert len({span.attributes["celery.child.pid"] for span in exits}) == len(exits)
    assert {span.attributes["celery.child.pid"] for span in starts} <= {
        span.attributes["celery.child.pid"] for span in exits
    }


@pytest.mark.redis
def test_what_goes_as_planned_makes_no_traces(tmp_path):
    with site(tmp_path, "redis", "http", "-c", "3", "--max-tasks-per-child", "1") as here:
        sent = [here.app.tasks["add"].delay(number, 1).id for number in range(4)]
        here.gathered.wait_for(lambda _: len(here.gathered.runs()) >= len(sent))
        wait_for_finished(here.worker, len(sent))
        here.worker.stop()
        exits, starts = told(here.gathered, "child exit"), told(here.gathered, "child start")
        (begin,), (stop,) = told(here.gathered, "worker start"), told(here.gathered, "worker stop")
    assert not exits
    assert [span.parent_span_id for span in starts] == [begin.span_id] * 3
    assert {span.trace_id for span in here.gathered.spans if not span.name.startswith(("run/", "apply_async/"))} == {
        begin.trace_id,
        stop.trace_id,
    }


@pytest.mark.redis
def test_the_whole_life_of_a_worker(tmp_path):
    all_details = {"CLEW_DETAIL": "all"}
    with site(tmp_path, "redis", "http", *ONE, "--max-tasks-per-child", "7", environment=all_details) as here:
        _run(1)(here, tmp_path)
        (begin,), (start,), (exit_,), (stop,) = (
            told(here.gathered, name) for name in ("worker start", "child start", "child exit", "worker stop")
        )
        queue = here.app.conf.task_default_queue
        (run,) = here.gathered.runs()
    assert normalised(begin) == {
        "hostname": "<worker>",
        "version": celery.__version__,
        "worker.outcome": "ready",
        "worker.pool": "prefork",
        "worker.concurrency": 1,
        "worker.prefetch_multiplier": 1,
        "worker.queues": (queue,),
        "worker.task_count": normalised(begin)["worker.task_count"],
        "worker.max_tasks_per_child": 7,
        "messaging.system": "redis",
        "server.address": "127.0.0.1",
        "server.port": 6379,
    }
    assert normalised(start) == {"hostname": "<worker>"}
    assert normalised(exit_) == {
        "hostname": "<worker>",
        "child.exit_reason": "shutdown",
        "child.task_count": 1,
        "child.exit_code": 0,
    }
    # The worker may not have heard of the task's end when it is told to stop.
    assert normalised(stop).pop("shutdown.running_count") in (0, 1)
    assert normalised(stop) == {
        "hostname": "<worker>",
        **_shutdown(exit_code=0, running_count=stop.attributes["celery.shutdown.running_count"]),
    }
    assert (start.trace_id, start.parent_span_id) == (begin.trace_id, begin.span_id)
    assert len({span.trace_id for span in (begin, exit_, stop, run)}) == 4
    assert begin.start_ns < start.start_ns < start.end_ns < stop.start_ns < exit_.end_ns <= stop.end_ns
    assert abs(exit_.start_ns - start.start_ns) < 1_000_000_000
    assert start.resource["process.pid"] == start.attributes["celery.child.pid"] == run.resource["process.pid"]
    assert begin.resource["process.pid"] == exit_.resource["process.pid"] == stop.resource["process.pid"]


@pytest.mark.parametrize(
    ("broker", "pool"),
    [
        pytest.param("redis", "solo", marks=pytest.mark.redis),
        pytest.param("rabbitmq", "threads", marks=pytest.mark.rabbitmq),
    ],
)
def test_pools_without_children(tmp_path, broker, pool):
    with site(tmp_path, broker, "grpc", "-P", pool, "-c", "2") as here:
        _run(1)(here, tmp_path)
        names = sorted(span.name for span in here.gathered.spans)
        (begin,) = told(here.gathered, "worker start")
    assert names == ["run/add", "worker start", "worker stop"]
    assert begin.attributes["celery.worker.pool"] == pool


class Failing(Worker):
    """A worker that ends by itself."""

    def wait_for_log(self, text: str) -> None:
        self._process.wait(DEADLINE)


def test_a_broker_that_is_down_fails_the_start(tmp_path):
    gathered = Gathered()
    conf = {lives.CONF: json.dumps({"broker_connection_retry_on_startup": False, "broker_connection_retry": False})}
    with Receiver(gathered.take, grpc_port=0, http_port=0) as receiver:
        nowhere, endpoint = "redis://127.0.0.1:1/0", receiver.grpc_endpoint
        with Failing(nowhere, "clew-down", endpoint, tmp_path, "-P", "solo", *MODULES, environment=conf) as worker:
            log = worker.log.read_text()
    assert [(span.name, span.status) for span in gathered.spans] == [("worker start", "ERROR")], log
    shown = gathered.spans[0].attributes
    assert shown["celery.worker.outcome"] == "failed"
    assert "ConnectionError" in str(shown["error.type"]) or "OperationalError" in str(shown["error.type"])


def test_a_worker_that_cannot_be_made_fails_the_start(app):
    app.conf.task_create_missing_queues = False
    with tracing() as trace:
        with pytest.raises(ImproperlyConfigured):
            testing.TestWorkController(app=app, queues="nobody", hostname="here")
        assert trace.tree("celery.worker.outcome") == "worker start ERROR outcome=failed"
        assert trace.named("worker start").attributes["error.type"] == "celery.exceptions.ImproperlyConfigured"


def _embedded(app: Any) -> Any:
    return testing.start_worker(app, perform_ping_check=False, pool="solo", loglevel="ERROR")


def test_an_embedded_worker_is_told_too(app):
    with tracing() as trace:
        with _embedded(app):
            pass
        assert trace.tree("celery.worker.outcome", "celery.shutdown") == (
            "worker start outcome=ready\nworker stop shutdown=cold"
        )


def _life(*steps: str) -> Any:
    life = lifecycle_worker.WorkerLife()
    for step in steps:
        life.step(step)
    return life


def test_a_stop_before_it_is_ready_is_no_failure():
    worker = SimpleNamespace(hostname="here")
    with tracing() as trace:
        _life("warm").failed(worker, SystemExit(0))
        assert trace.tree("celery.worker.outcome") == "worker start outcome=stopped"


def test_an_error_of_the_main_loop_is_on_the_stop():
    worker = SimpleNamespace(hostname="here", exitcode=1)
    with tracing() as trace:
        life = _life()
        life.ready(worker)
        life.failed(worker, RuntimeError("the hub broke"))
        life.step("warm")
        life.stopped(worker)
        assert trace.tree("celery.shutdown.exit_code") == "worker start\nworker stop ERROR exit_code=1"


@MODERN
def test_a_hard_shutdown_is_noted(app, monkeypatch):
    from celery.apps import worker as program

    with tracing() as trace:
        worker = testing.TestWorkController(app=app, hostname="here", pool="solo", without_heartbeat=True)
        lifecycle._life(worker).ready(worker)
        celery.signals.worker_shutting_down.send(sender=worker.hostname, sig="SIGQUIT", how="Cold", exitcode=1)
        with pytest.raises(SystemExit):
            program.on_hard_shutdown(worker)
        worker.terminate()
        stop = trace.named("worker stop")
    assert stop.attributes["celery.shutdown"] == "hard"
    assert stop.attributes["celery.shutdown.steps"] == ("cold", "hard")


def test_an_applications_own_pool_is_not_ours():
    with tracing() as trace:
        with billiard.pool.Pool(1) as pool:
            assert pool.apply(abs, (-1,)) == 1
        assert not trace.spans


def test_errors_of_ours_do_not_reach_the_worker(app, monkeypatch):
    monkeypatch.setattr(isolation, "is_strict", False)
    monkeypatch.setattr(lifecycle_worker, "_described", lambda *_: 1 / 0)
    monkeypatch.setattr(lifecycle_worker.WorkerLife, "step", lambda *_: 1 / 0)
    with tracing(), _embedded(app):
        pass


def test_the_undo_restores_the_identical_objects():
    places = [
        *[(WorkController, name) for name in ("__init__", "stop", "terminate", "_send_worker_shutdown")],
        (billiard.pool.Pool, "_create_worker_process"),
        (billiard.pool.Pool, "_join_exited_workers"),
        (billiard.pool.Worker, "after_fork"),
        (billiard.pool.TimeoutHandler, "_trywaitkill"),
        (billiard.popen_fork.Popen, "poll"),
        (celery.concurrency.prefork.TaskPool, "on_stop"),
        (celery.concurrency.prefork.TaskPool, "on_terminate"),
    ]
    before, blueprint = [vars(owner)[name] for owner, name in places], dict(vars(WorkController.Blueprint))
    receivers = list(celery.signals.worker_shutting_down.receivers or ())
    with tracing():
        assert all(vars(owner)[name] is not found for (owner, name), found in zip(places, before, strict=True))
    assert [vars(owner)[name] for owner, name in places] == before
    assert dict(vars(WorkController.Blueprint)) == blueprint
    assert list(celery.signals.worker_shutting_down.receivers or ()) == receivers
    assert not lifecycle_child.State.children


def test_switched_off_it_is_silent(app):
    with tracing(celery_lifecycle=False) as trace:
        with _embedded(app):
            pass
        assert not trace.spans
