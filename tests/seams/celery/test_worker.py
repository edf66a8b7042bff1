"""Real workers under `opentelemetry-instrument`, real brokers, a real exporter: no span of a finished task is lost."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from celery import Celery, chain, group
from kombu import pools
from opentelemetry import baggage, context
from opentelemetry import trace as otel
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from clew.engine.flush import bounded_flush, flush_before_exit
from clew.testing import Trace, tracing
from tests.celery_site.app import make_app
from tests.celery_site.worker import DEADLINE, Gathered, Receiver, Worker
from tests.seams.celery import closing, schedule
from tests.services import require

URLS = {
    "redis": "redis://127.0.0.1:6379/9",
    "rabbitmq": "amqp://guest:guest@127.0.0.1:5672//",
    "filesystem": "filesystem://",
}
PROTOCOLS = {"grpc": "grpc", "http": "http/protobuf"}
RECYCLE = ("-P", "prefork", "-c", "2", "--max-tasks-per-child", "1")
UPSTREAM = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "redis,django,clew"}


@pytest.fixture(autouse=True, scope="module")
def _connections():
    """Apps of one broker share kombu's connections, so they are closed when the last of them is done."""
    yield
    pools.reset()


class Site(NamedTuple):
    app: Celery
    worker: Worker
    gathered: Gathered
    trace: Trace


@contextlib.contextmanager
def site(folder: Path, broker: str, protocol: str, *arguments: str, **more: Any) -> Iterator[Site]:
    """An app in this process, a worker of its own queue, and the spans of both."""
    if broker != "filesystem":
        require(broker)
    (folder / "messages").mkdir()
    queue, url = f"clew-{uuid.uuid4().hex[:12]}", URLS[broker]
    environment = {"OTEL_EXPORTER_OTLP_PROTOCOL": PROTOCOLS[protocol], **more.pop("environment", {})}
    if broker == "redis":
        environment["CELERY_SITE_BACKEND"] = url
    app, gathered = make_app(url, queue, folder=folder), Gathered()
    with contextlib.ExitStack() as stack:
        stack.callback(_clean_up, app, broker, queue)
        receiver = stack.enter_context(Receiver(gathered.take, grpc_port=0, http_port=0))
        endpoint = receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint
        trace = stack.enter_context(tracing())
        worker = Worker(url, queue, endpoint, folder, *arguments, environment=environment, **more)
        yield Site(app, stack.enter_context(worker), gathered, trace)


def _clean_up(app: Celery, broker: str, queue: str) -> None:
    if broker == "filesystem":
        return
    with app.connection() as connection:
        channel = connection.default_channel
        if broker == "rabbitmq":
            channel.queue_delete(queue)
            channel.exchange_delete(queue)
        if broker == "redis":
            for key in channel.client.keys(f"*{queue}*"):
                channel.client.delete(key)
    app.close()


def finished(worker: Worker, how: str = "succeeded") -> list[str]:
    """Ids of the tasks the worker's log says it has finished."""
    return re.findall(rf"Task \w+\[([\w-]+)\] {how}", worker.log.read_text(errors="replace"))


def wait_for_finished(worker: Worker, count: int, how: str = "succeeded") -> None:
    pause, end = threading.Event(), DEADLINE / 0.02
    while len(finished(worker, how)) < count:
        end -= 1
        assert end > 0, worker.log.read_text(errors="replace")
        pause.wait(0.02)


def ids(spans: Any) -> list[str]:
    return sorted(span.attributes["messaging.message.id"] for span in spans)


def assert_parented_and_linked(here: Site) -> None:
    """Every run is a child of its own publish, in this process or a worker's, and linked to it."""
    published = {
        span.attributes["messaging.message.id"]: (f"{span.context.trace_id:032x}", f"{span.context.span_id:016x}")
        for span in here.trace.spans
        if span.name.startswith("apply_async/")
    }
    for run in here.gathered.runs():
        publish = published[run.attributes["messaging.message.id"]]
        assert (run.trace_id, run.parent_span_id) == publish
        assert [link[:2] for link in run.links] == [publish]


@pytest.mark.parametrize(
    ("broker", "protocol"),
    [
        pytest.param("redis", "grpc", marks=pytest.mark.redis),
        pytest.param("rabbitmq", "http", marks=pytest.mark.rabbitmq),
        ("filesystem", "grpc"),
    ],
)
def test_recycled_children_lose_nothing(tmp_path, broker, protocol):
    """docs/upstream.md, celery 3 (contrib #4916): a child leaves by os._exit, with its batch."""
    with site(tmp_path, broker, protocol, *RECYCLE) as here:
        sent = [here.app.tasks["add"].delay(number, 1).id for number in range(10)]
        here.gathered.wait_for(lambda spans: len(spans) >= 10)
        wait_for_finished(here.worker, 10)
        here.worker.stop()
        assert ids(here.gathered.runs()) == sorted(sent)
        assert_parented_and_linked(here)


def test_upstream_alone_loses_recycled_childrens_spans(tmp_path):
    """docs/upstream.md, celery 3, upstream alone: when this fails, delete the worker seam."""
    with site(tmp_path, "filesystem", "grpc", *RECYCLE, environment=UPSTREAM) as here:
        for number in range(4):
            here.app.tasks["add"].delay(number, 1)
        wait_for_finished(here.worker, 4)
        here.worker.stop()
        assert len(here.gathered.runs()) < 4


@pytest.mark.parametrize(
    ("broker", "protocol", "pool"),
    [
        pytest.param("redis", "http", "prefork", marks=pytest.mark.redis),
        pytest.param("rabbitmq", "grpc", "prefork", marks=pytest.mark.rabbitmq),
        pytest.param("redis", "grpc", "threads", marks=pytest.mark.redis),
        pytest.param("rabbitmq", "http", "solo", marks=pytest.mark.rabbitmq),
    ],
)
def test_a_warm_shutdown_in_the_middle_loses_nothing(tmp_path, broker, protocol, pool):
    """docs/upstream.md, celery 3: of 14 finished tasks, 6 had spans."""
    with site(tmp_path, broker, protocol, "-P", pool, "-c", "2") as here:
        for _ in range(50):
            here.app.tasks["nap"].delay(0.02)
        wait_for_finished(here.worker, 12)
        here.worker.stop()
        assert ids(here.gathered.runs()) == sorted(finished(here.worker))
        assert_parented_and_linked(here)


@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_a_collector_that_is_down_keeps_no_child_from_leaving(tmp_path, protocol):
    nowhere = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}
    with site(tmp_path, "filesystem", protocol, *RECYCLE, environment=nowhere) as here:
        for number in range(4):
            here.app.tasks["add"].delay(number, 1)
        wait_for_finished(here.worker, 4)
        here.worker.stop()


def test_set_up_in_worker_process_init_is_early_enough(tmp_path):
    """The tasks' tracers are built before that signal; contrib's own documentation recommends it."""
    more = {"environment": {"CELERY_SITE_SETUP": "worker_process_init"}, "command": ("celery",)}
    with site(tmp_path, "filesystem", "grpc", "-P", "prefork", "-c", "1", **more) as here:
        here.app.tasks["add"].delay(1, 2)
        wait_for_finished(here.worker, 1)
        here.worker.stop()
        assert len(here.gathered.runs()) == 1
        assert_parented_and_linked(here)


def test_link_mode_is_a_trace_of_its_own_with_the_baggage(tmp_path):
    """docs/upstream.md, celery 9."""
    mode = {"CLEW_TASK_PARENT": "link"}
    with site(tmp_path, "filesystem", "http", "-P", "solo", environment=mode) as here:
        token = context.attach(baggage.set_baggage("customer", "7"))
        here.app.tasks["baggage"].delay()
        context.detach(token)
        wait_for_finished(here.worker, 1)
        here.worker.stop()
        (run,) = here.gathered.runs()
    publish = here.trace.named("apply_async/baggage")
    assert run.parent_span_id == ""
    assert run.trace_id != f"{publish.context.trace_id:032x}"
    assert [link[1] for link in run.links] == [f"{publish.context.span_id:016x}"]
    assert run.attributes["seen"] == "7"


@pytest.fixture(scope="module")
def redis_site(tmp_path_factory, _connections):
    """One prefork worker for several tests."""
    soon = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
    folder = tmp_path_factory.mktemp("site")
    with site(folder, "redis", "grpc", "-P", "prefork", "-c", "2", environment=soon) as here:
        yield here


def trace_of(here: Site, name: str, publish: Any, runs: int) -> list[str]:
    """Publish below a span of that name; the tree of its trace, of both processes, without what polls."""
    with otel.get_tracer("test").start_as_current_span(name) as view:
        publish()
    trace_id = f"{view.get_span_context().trace_id:032x}"
    spans = here.gathered.wait_for(
        lambda all_: sum(each.trace_id == trace_id and each.kind == "CONSUMER" for each in all_) >= runs
    )
    return sorted(each.name for each in spans if each.trace_id == trace_id and "chord_unlock" not in each.name)


@pytest.mark.redis
def test_canvases_are_one_trace(redis_site):
    add = redis_site.app.tasks["add"]
    grouped = group([add.s(1, 1), add.s(2, 2)], app=redis_site.app)
    assert trace_of(redis_site, "group", grouped.delay, 2) == ["run/add", "run/add"]
    chained = chain(add.s(1, 1), add.s(2), app=redis_site.app)
    assert trace_of(redis_site, "chain", chained.delay, 2) == ["apply_async/add", "run/add", "run/add"]
    names = trace_of(redis_site, "chord", redis_site.app.tasks["fan out"].delay, 4)
    assert names == ["apply_async/add"] * 2 + ["apply_async/total", "run/add", "run/add", "run/fan out", "run/total"]


@pytest.mark.redis
def test_retries_and_nested_publishes_are_one_trace(redis_site):
    again, outer = redis_site.app.tasks["again"], redis_site.app.tasks["outer"]
    names = trace_of(redis_site, "retry", lambda: again.delay(2), 3)
    assert names == ["apply_async/again"] * 2 + ["run/again"] * 3
    assert trace_of(redis_site, "nested", outer.delay, 2) == ["apply_async/add", "run/add", "run/outer"]
    unknown = trace_of(redis_site, "by name", lambda: redis_site.app.send_task("add", (1, 2)), 1)
    assert unknown == ["run/add"]


@pytest.mark.redis
def test_a_soft_time_limit_and_an_exit_end_the_span(redis_site):
    for name, error in (("soft", "billiard.exceptions.SoftTimeLimitExceeded"), ("leave", "SystemExit")):
        trace_of(redis_site, name, redis_site.app.tasks[name].delay, 1)
        (run,) = [span for span in redis_site.gathered.runs() if span.name == f"run/{name}"]
        assert (run.status, run.attributes["error.type"]) == ("ERROR", error)


class Slow(SpanExporter):
    """An exporter that waits until it is let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.exported: list[str] = []

    def export(self, spans: Any) -> SpanExportResult:
        self.go.wait()
        self.exported += [span.name for span in spans]
        return SpanExportResult.SUCCESS


class Waiting(SimpleSpanProcessor):
    """Exports on the flush."""

    def __init__(self, exporter: SpanExporter) -> None:
        super().__init__(exporter)
        self.before = lambda: None

    def on_end(self, span: Any) -> None:
        self.span = span

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        self.before()
        self.span_exporter.export([self.span])
        return True


@pytest.fixture
def slow():
    provider, processor = TracerProvider(shutdown_on_exit=False), Waiting(Slow())
    provider.add_span_processor(processor)
    provider.get_tracer("test").start_span("kept").end()
    yield provider, processor
    processor.span_exporter.go.set()


@pytest.mark.parametrize("flush", [bounded_flush, flush_before_exit])
def test_a_flush_gives_up_in_time(slow, flush):
    provider, processor = slow
    assert flush(provider, 50) is False
    processor.span_exporter.go.set()
    assert flush(provider, DEADLINE * 1000) is True


def test_a_signal_does_not_cut_the_last_flush_short(slow):
    """A worker that is told to stop may tell its children too, which are just leaving."""
    provider, processor = slow

    def handler(number: int, frame: Any) -> None:
        processor.span_exporter.go.set()
        raise SystemExit

    processor.before = lambda: os.kill(os.getpid(), signal.SIGUSR1)
    before = signal.signal(signal.SIGUSR1, handler)
    try:
        with pytest.raises(SystemExit):
            flush_before_exit(provider, DEADLINE * 1000)
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert processor.span_exporter.exported == ["kept"]


@pytest.mark.skipif(sys.platform != "linux", reason="epoll")
@pytest.mark.parametrize(("exporter", "stayed"), [("grpc", ["gRPC's", "kept"]), ("http", ["kept"])])
def test_files_that_grpc_waits_with_stay_open(exporter, stayed):
    """Beat inside a worker, and a daemon, close all others: those of the application's loops, too."""
    command = [sys.executable, "-m", closing.__name__, exporter]
    assert json.loads(subprocess.check_output(command, text=True, timeout=DEADLINE)) == stayed


@pytest.mark.skipif(sys.platform != "linux", reason="epoll")
def test_grpcs_own_pollers_are_known():
    """Of the gRPC that is installed."""
    code = "from clew.seams.celery import worker\nprint(len(worker._files_of_grpc()))\n"
    opened = "from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as E\nexporter = E()\n"
    found = [subprocess.check_output([sys.executable, "-c", each], text=True) for each in (code, opened + code)]
    assert (int(found[0]), int(found[1]) >= 2) == (0, True)


@pytest.mark.redis
def test_beat_inside_a_worker_goes_on_sending_by_grpc(tmp_path):
    """gRPC logs without end when its files are closed under it."""
    arguments = ("-P", "prefork", "-c", "1", "-B", "-s", str(tmp_path / "schedule"), "-I", schedule.__name__)
    entries = {"CELERY_SITE_ENTRIES": "every second"}
    with site(tmp_path, "redis", "grpc", *arguments, environment=entries) as here:
        here.gathered.wait_for(lambda all_: sum(span.name == "beat tick" for span in all_) >= 3)
        here.worker.stop()
        log = here.worker.log.read_text(errors="replace")
    assert sum(span.name == "beat tick" for span in here.gathered.spans) >= 3
    assert "Completion queue" not in log
