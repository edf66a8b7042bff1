"""Who reads a queue, over real brokers: queues nobody reads, workers that come and go, and what a publish costs."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import signal
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Iterator
from typing import Any, NamedTuple

import pytest
from kombu import Exchange, Queue, pools
from kombu.common import Broadcast
from kombu.entity import Queue as QueueClass
from kombu.messaging import Producer
from opentelemetry import trace as otel

from clew.cli.doctor.broker import look
from clew.seams.celery import consumers
from clew.seams.celery.consumers import known as consumers_known
from clew.seams.celery.consumers import look as consumers_look
from clew.seams.celery.consumers.registry import Registry
from clew.testing import tracing
from tests.celery_site.worker import DEADLINE, Gathered, Receiver, Worker
from tests.detectors.shared import found, unsampled
from tests.seams.celery.readers import app_of
from tests.services import require
from tests.shared import until

URLS = {"redis": "redis://127.0.0.1:6379/9", "rabbitmq": "amqp://guest:guest@127.0.0.1:5672//"}
TYPE = "no_consumer"
REDIS = pytest.param("redis", marks=pytest.mark.redis)
RABBITMQ = pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)
BOTH = pytest.mark.parametrize("broker", [REDIS, RABBITMQ], indirect=True)
ON_REDIS = pytest.mark.parametrize("broker", [REDIS], indirect=True)
ON_RABBITMQ = pytest.mark.parametrize("broker", [RABBITMQ], indirect=True)
# kombu 5.3 and today's redis, when a worker's answer is read.
pytestmark = pytest.mark.filterwarnings("ignore:Call to 'get_connection':DeprecationWarning")


class Site(NamedTuple):
    app: Any
    queue: str
    url: str

    def publish(self, **options: Any) -> Any:
        return self.app.send_task("add", (1, 2), **options)

    def request(self, **options: Any) -> None:
        """A request that sends a task, and ends when the broker has been asked."""
        with otel.get_tracer("tests").start_as_current_span("root"):
            self.publish(**options)
            consumers_look.wait_for_answers(DEADLINE)

    @contextlib.contextmanager
    def channel(self) -> Iterator[Any]:
        with self.app.connection() as connection:
            yield connection.default_channel

    def keep_registry(self) -> None:
        """As if a worker had ever said which queues it reads."""
        if self.url.startswith("redis"):
            with self.channel() as channel:
                Registry(channel).record("another", {f"{self.queue}.other"}, set())


@pytest.fixture
def broker(request):
    require(request.param)
    return request.param


@pytest.fixture
def here(broker, monkeypatch):
    """A site whose queues are looked at once only."""
    monkeypatch.setattr(consumers_known, "SECOND_LOOK_SECONDS", 0)
    queue = f"clew-{uuid.uuid4().hex[:12]}"
    site = Site(app_of(URLS[broker], queue), queue, URLS[broker])
    yield site
    with site.channel() as channel:
        if broker == "rabbitmq":
            for name in (queue, f"{queue}.other", f"{queue}.topic"):
                channel.queue_delete(name)
                channel.exchange_delete(name)
        else:
            for key in channel.client.keys(f"*{queue}*"):
                Registry(channel)._client.delete(key)
    site.app.close()
    pools.reset()


@pytest.fixture
def forgetful(monkeypatch):
    """What is known is old at once: each publish has it asked."""
    monkeypatch.setattr(consumers_known, "_READ_SECONDS", 0)
    monkeypatch.setattr(consumers_known, "_UNREAD_SECONDS", 0)


@pytest.fixture
def late(monkeypatch):
    """The broker's answer comes when the test says so."""
    may_answer, look = threading.Event(), consumers_look.look

    def looking(*args):
        assert may_answer.wait(DEADLINE)
        return look(*args)

    monkeypatch.setattr(consumers_look, "look", looking)
    return may_answer


def published(trace: Any) -> list[Any]:
    """`celery.has_consumers` of every publish span."""
    return [span.attributes.get("celery.has_consumers") for span in trace.spans if span.name == "apply_async/add"]


def messages(trace: Any) -> list[str]:
    return [finding.message for finding in found(trace, TYPE)]


def ask(here: Site) -> bool | None:
    """What a publish finds out; its message is taken away by whoever reads."""
    consumers_known.reset()
    here.request()
    (known,) = [known for key, known in consumers_known._known.items() if key[-1] == here.queue]
    return known.is_read


def size_of(here: Site) -> int:
    with here.channel() as channel:
        return int(channel._size(here.queue))


def purge(here: Site) -> None:
    with here.channel() as channel:
        channel._purge(here.queue)


@contextlib.contextmanager
def worker(here: Site, folder: Any, *arguments: str, **more: Any) -> Iterator[tuple[Worker, Gathered]]:
    gathered = Gathered()
    with Receiver(gathered.take, grpc_port=0, http_port=0) as receiver:
        arguments = ("-P", "prefork", "-c", "1", "-I", "tests.seams.celery.readers", *arguments)
        with Worker(here.url, here.queue, receiver.grpc_endpoint, folder, *arguments, **more) as started:
            yield started, gathered


# Nobody reads


@ON_RABBITMQ
def test_the_first_publish_says_it_for_the_answer_to_celerys_own_declaration(here, trace, late):
    """Nothing is asked: the publish needs no answer but the one it waits for anyway."""
    with otel.get_tracer("tests").start_as_current_span("root"):
        here.publish()
    assert trace.tree("celery.has_consumers", "clew.findings").splitlines() == [
        "root findings=('no_consumer',)",
        "  PRODUCER apply_async/add has_consumers=False",
    ]
    assert consumers_look._watcher is None
    assert messages(trace) == [f"nobody reads queue '{here.queue}': add will not run"]


@BOTH
def test_messages_that_wait_are_counted(here, trace):
    here.keep_registry()
    with here.app.connection() as connection, connection.SimpleQueue(here.queue) as queue:
        for _ in range(3):
            queue.put({})
    here.request()
    assert f"({'4' if here.url.startswith('redis') else '3'} messages wait)" in messages(trace)[0]


@BOTH
def test_a_later_publish_says_it_on_the_root_as_long_as_that_is_open(here, trace, forgetful):
    here.keep_registry()
    here.publish()
    consumers_look.wait_for_answers(DEADLINE)
    trace.clear()
    here.request()
    root = trace.named("root")
    assert root.attributes["clew.findings"] == (TYPE,)
    (event,) = root.events
    assert event.attributes["clew.finding.queue"] == here.queue
    assert event.attributes["code.function.name"].endswith(
        "Site.publish" if sys.version_info >= (3, 11) else "test_consumers.publish"
    )
    assert trace.named("apply_async/add")


@BOTH
@pytest.mark.parametrize("has_root", [True, False])
def test_what_is_known_after_the_end_has_a_span_of_its_own(here, trace, forgetful, late, has_root, caplog):
    here.keep_registry()
    with otel.get_tracer("tests").start_as_current_span("root") if has_root else contextlib.nullcontext():
        here.publish()
    until(lambda: trace.spans)
    late.set()
    until(lambda: any(span.name.startswith("queue ") for span in trace.spans))
    publish, span = trace.named("apply_async/add"), trace.named(f"queue {here.queue}")
    assert span.parent.span_id == publish.context.span_id
    assert span.instrumentation_scope.name == "clew.seams.celery.consumers"
    assert dict(span.attributes) == {
        "messaging.destination.name": here.queue,
        "celery.has_consumers": False,
        "clew.findings": (TYPE,),
        "clew.no_consumer.count": 1,
        "clew.finding.any": True,
        "clew.finding.no_consumer": True,
        "clew.warnings": span.attributes["clew.warnings"],
    }
    (line,) = span.attributes["clew.warnings"]
    assert line.startswith(f"no_consumer: nobody reads queue '{here.queue}' ")
    assert [event.name for event in span.events] == ["clew.finding.no_consumer"]
    said = [each.getMessage() for each in caplog.records if each.name == "clew"]
    assert said == [f"clew: nobody reads queue '{here.queue}': the tasks sent there do not run (logged once per queue)"]


@ON_REDIS
def test_the_publish_span_says_it_as_soon_as_it_is_known(here, trace):
    here.keep_registry()
    for _ in range(3):
        here.request()
    assert published(trace) == [None, False, False]
    assert [span.attributes["clew.findings"] for span in trace.spans if span.name == "root"] == [(TYPE,)] * 3


@BOTH
def test_many_publishes_of_one_request_say_it_once(here, trace, forgetful):
    here.keep_registry()
    with otel.get_tracer("tests").start_as_current_span("root"):
        for _ in range(20):
            here.publish()
        consumers_look.wait_for_answers(DEADLINE)
    assert len(messages(trace)) == 1


@BOTH
def test_an_unsampled_request_is_watched_too(here):
    here.keep_registry()
    assert [each.type for each in unsampled(here.request)] == [TYPE]


@ON_RABBITMQ
def test_a_queue_that_is_gone(here, trace, forgetful):
    """Celery declares it once for each connection; what is sent after it was deleted is dropped by the broker."""
    here.request()
    with here.channel() as channel:
        channel.queue_delete(here.queue)
    trace.clear()
    here.request()
    assert messages(trace) == [f"nobody reads queue '{here.queue}', which does not exist: add will not run"]


@BOTH
def test_a_script_that_ends_at_once_still_says_it(here, tmp_path):
    here.keep_registry()
    gathered = Gathered()
    script = f"""
import clew
clew.setup_tracing()
from tests.seams.celery.readers import app_of
app_of({here.url!r}, {here.queue!r}).send_task("add", (1, 2))
"""
    with Receiver(gathered.take, grpc_port=0, http_port=0) as receiver:
        env = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint, "PYTHONPATH": os.getcwd()}
        env["OTEL_SERVICE_NAME"] = "script"
        for _ in range(5):  # its exit waits for the broker's answer, but not for long
            done = subprocess.run(
                [sys.executable, "-c", script], env=env, capture_output=True, text=True, timeout=DEADLINE
            )
            assert done.returncode == 0, done.stderr
            if said := [span.name for span in gathered.spans if "clew.findings" in span.attributes]:
                break
    assert said == [f"queue {here.queue}"]


@BOTH
def test_a_second_look_that_finds_nobody_either(here, trace, monkeypatch):
    monkeypatch.setattr(consumers_known, "SECOND_LOOK_SECONDS", 0.2)
    here.keep_registry()
    with otel.get_tracer("tests").start_as_current_span("first"):
        here.publish()
    until(lambda: any(span.name.startswith("queue ") for span in trace.spans))
    assert "clew.findings" not in trace.named("first").attributes
    with otel.get_tracer("tests").start_as_current_span("second"):
        here.publish()
    assert trace.named("second").attributes["clew.findings"] == (TYPE,)
    assert published(trace)[1] is False


# Somebody reads


@BOTH
def test_who_reads_it_a_moment_later_is_no_finding(here, trace, monkeypatch):
    here.keep_registry()
    looks, look = [], consumers_look.look

    def looking(*args):
        found = look(*args)
        looks.append(found.is_read)
        return found

    monkeypatch.setattr(consumers_known, "SECOND_LOOK_SECONDS", 3600)
    monkeypatch.setattr(consumers_look, "look", looking)
    here.publish()
    until(lambda: consumers_look._watcher._later)
    with here.channel() as channel:
        if here.url.startswith("redis"):
            Registry(channel).record("worker", {here.queue}, set())
        else:
            channel.basic_consume(here.queue, callback=lambda _: None)
        consumers_look.wait_for_answers(DEADLINE)  # the process is about to end: the second look is now
        here.request()
    assert looks == [False, True]
    assert not messages(trace)
    assert published(trace) == [None if here.url.startswith("redis") else False, True]


@BOTH
def test_a_worker_that_comes_and_goes(here, trace, tmp_path):
    here.keep_registry()
    assert ask(here) is False
    with worker(here, tmp_path):
        until(lambda: ask(here))
        trace.clear()
        here.request()
        assert published(trace) == [True]
        assert not messages(trace)
    for key, known in list(consumers_known._known.items()):  # half a minute later
        consumers_known._known[key] = dataclasses.replace(known, at=known.at - 30)
    here.request()
    (finding,) = found(trace, TYPE)
    assert "until somebody does; it was read" in finding.message
    assert finding.severity == "information"


@ON_REDIS
def test_a_worker_that_dies_is_forgotten(here):
    """It cannot take itself out: its entry is too old after a minute, by Redis's own clock."""
    here.keep_registry()
    with here.channel() as channel:
        registry = Registry(channel)
        registry.record("dead", {here.queue}, set())
        assert registry.readers(here.queue) == 1
        key = registry._key(here.queue)
        assert 0 < registry._client.ttl(key) <= 60
        registry._client.zadd(key, {"dead": registry._client.time()[0] - 61})
        assert registry.readers(here.queue) == 0
        registry.record("alive", {here.queue}, set())
        assert registry._client.zrange(key, 0, -1) == [b"alive"]


@ON_REDIS
def test_the_registry_follows_add_consumer_and_cancel_consumer(here, tmp_path):
    other = f"{here.queue}.other"
    with worker(here, tmp_path), here.channel() as channel:
        registry = Registry(channel)
        until(lambda: registry.readers(here.queue) == 1)
        assert registry.readers(other) == 0
        here.app.control.add_consumer(other)
        until(lambda: registry.readers(other) == 1)
        here.app.control.cancel_consumer(here.queue)
        until(lambda: registry.readers(here.queue) == 0)
        assert registry.readers(other) == 1
        doctors = look(here.app, [here.queue, other], 5).queues
        assert [doctors[name].registered for name in (here.queue, other)] == [0, 1]
    with here.channel() as channel:
        assert Registry(channel).readers(other) == 0


@ON_REDIS
@pytest.mark.parametrize("has_registry", [False, True])
def test_a_worker_without_clew_is_no_false_positive(here, trace, tmp_path, has_registry):
    if has_registry:
        here.keep_registry()
    without = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "redis,django,clew"}
    with worker(here, tmp_path, environment=without):
        for _ in range(5):
            assert ask(here) is None
    assert published(trace) == [None] * 5
    assert not messages(trace)


@ON_REDIS
def test_a_busy_worker_without_clew_is_only_information(here, trace, tmp_path):
    """While clew is rolled out: it takes nothing meanwhile, so only kombu's bindings tell of it."""
    here.keep_registry()
    without = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "redis,django,clew"}
    with worker(here, tmp_path, "--prefetch-multiplier", "1", environment=without) as (busy, _):
        with tracing():
            for _ in range(3):
                here.app.send_task("nap", (8,))
            busy.wait_for_log("Task nap[")
            until(lambda: size_of(here) <= 1)
            consumers_look.wait_for_answers(DEADLINE)
        trace.clear()
        consumers_known.reset()
        for _ in range(2):
            here.request()
        assert published(trace) == [None, None]
        first, second = found(trace, TYPE)
        assert (first.severity, second.severity) == ("information", "information")
        (stranger,) = first.evidence["workers_without_clew"]
        assert stranger.startswith(f"{here.queue}@")
        assert first.message == (
            f"no worker with clew reads queue '{here.queue}' (2 messages wait): add will not run, unless a worker "
            f"without clew reads it (as it seems there are some: {stranger})"
        )
        purge(here)


@ON_REDIS
def test_a_worker_with_clew_is_no_stranger_when_it_is_killed(here, trace, tmp_path):
    """Its binding stays. Whoever left may come back without clew."""
    other = f"{here.queue}.other"
    with worker(here, tmp_path) as (started, _), here.channel() as channel:
        registry = Registry(channel)
        until(lambda: registry.readers(here.queue) == 1)
        assert registry._client.scard(registry._mailboxes) == 1
        here.request(queue=other)
        assert [each.severity for each in found(trace, TYPE)] == ["warning"]
        os.killpg(started._process.pid, signal.SIGKILL)
        started._process.wait()
        assert registry._client.scard(registry._mailboxes) == 1
        assert registry.strangers() == ()
        node = registry._client.zrange(f"{registry._prefix}nodes", 0, -1)[-1].decode()
        registry.record(f"{node}/1", set(), set())
        assert registry.strangers() == (node,)


@BOTH
def test_a_workers_own_queue_and_one_that_nobody_reads(here, tmp_path):
    """In a forked child of a worker; and in its main process, before it reads."""
    other = f"{here.queue}.other"
    with worker(here, tmp_path, environment={"READERS_SEND_FIRST": "1"}) as (started, gathered):
        with tracing():
            here.app.send_task("send on", (None,))
            here.app.send_task("send on", (other,))
        gathered.wait_for(lambda spans: sum(span.name == "run/add" for span in spans) >= 2)
        gathered.wait_for(lambda spans: sum(span.name == "run/send on" for span in spans) >= 2)
        started.stop()
    spans = {span.span_id: span for span in gathered.spans}
    sent = {span.attributes["messaging.destination"] for span in spans.values() if span.name == "apply_async/add"}
    assert sent == {here.queue, other}
    about = [span for span in spans.values() if "clew.findings" in span.attributes]
    assert len(about) == 1
    if about[0].name == f"queue {other}":
        about = [spans[spans[about[0].parent_span_id].parent_span_id]]
    assert about[0].name == "run/send on"
    assert not [
        span.name
        for span in spans.values()
        if span.attributes.get("messaging.destination") == here.queue and "celery.has_consumers" in span.attributes
    ]


@ON_REDIS
def test_nothing_is_said_without_a_registry(here, trace):
    for _ in range(2):
        here.request()
    assert published(trace) == [None, None]
    assert not messages(trace)


# What is left alone


@ON_RABBITMQ
def test_what_goes_elsewhere_is_left_alone(here, trace):
    topic = Queue(f"{here.queue}.topic", Exchange(f"{here.queue}.topic", "topic"), routing_key="a.*")
    for options in (
        {"exchange": f"{here.queue}.topic", "routing_key": "a.b", "declare": [topic]},
        {"queue": topic, "routing_key": "a.c"},
        {
            "queue": Broadcast(
                f"{here.queue}.other", queue=f"{here.queue}.other", exchange=Exchange("amq.fanout", "fanout")
            )
        },
    ):
        here.publish(**options)
    here.app.tasks["add"].apply((1, 2))
    assert published(trace) == [None] * 3
    assert not messages(trace)
    assert consumers_look._watcher is None


@ON_RABBITMQ
def test_switched_off(here):
    with tracing(celery_consumers=False) as trace:
        here.request()
    assert published(trace) == [None]
    assert not messages(trace)


# The application comes first


class Forwarder:
    """Stands between the application and its broker, until it is closed to new connections."""

    def __init__(self, port: int) -> None:
        self._to, self._server = ("127.0.0.1", port), socket.create_server(("127.0.0.1", 0))
        self.port = self._server.getsockname()[1]
        self._sockets = [self._server]
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                near, far = self._server.accept()[0], socket.create_connection(self._to)
                self._sockets += [near, far]
                for one, other in ((near, far), (far, near)):
                    threading.Thread(target=self._copy, args=(one, other), daemon=True).start()

    def _copy(self, one: Any, other: Any) -> None:
        with contextlib.suppress(OSError):
            while data := one.recv(65536):
                other.sendall(data)
            other.shutdown(1)

    def refuse(self) -> None:
        self._server.shutdown(2)
        self._server.close()

    def close(self) -> None:
        for each in self._sockets:
            each.close()


@BOTH
def test_a_broker_that_goes_away_while_it_is_asked(here, broker, trace, forgetful):
    here.keep_registry()
    port = {"redis": 6379, "rabbitmq": 5672}[broker]
    forwarder = Forwarder(port)
    app = app_of(here.url.replace(str(port), str(forwarder.port)), here.queue)
    try:
        app.send_task("add", (1, 2))
        consumers_look.stop()
        forwarder.refuse()
        trace.clear()
        with otel.get_tracer("tests").start_as_current_span("root"):
            assert app.send_task("add", (1, 2)).id
            consumers_look.wait_for_answers(DEADLINE)
        assert published(trace) == [None]
        assert not messages(trace)
        assert consumers_look._watcher.thread.is_alive()
    finally:
        forwarder.close()
        app.pool.force_close_all()


@BOTH
def test_a_publish_asks_nothing_on_the_applications_connection(here, broker, monkeypatch, forgetful):
    """The same commands, by the same thread, with and without."""
    here.keep_registry()
    mine, commands = threading.get_ident(), []
    if broker == "rabbitmq":
        from amqp.abstract_channel import AbstractChannel as Where

        name = "send_method"
    else:
        from redis.connection import Connection as Where

        name = "send_packed_command"
    original = getattr(Where, name)

    def counting(self, *args, **kwargs):
        if threading.get_ident() == mine:
            commands.append(type(self).__name__)
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Where, name, counting)
    counts = []
    for is_on in (False, True):
        with tracing(celery_consumers=is_on):
            here.publish()
            consumers_look.wait_for_answers(DEADLINE)
            commands.clear()
            for _ in range(5):
                here.publish()
                consumers_look.wait_for_answers(DEADLINE)
            counts.append(list(commands))
    assert counts[0] == counts[1] != []


@ON_REDIS
def test_a_fork_has_a_thread_of_its_own(here, trace, forgetful):
    here.keep_registry()
    here.request()
    parent = consumers_look._watcher
    assert parent is not None
    child = os.fork()
    if child == 0:
        code = 1
        with contextlib.suppress(BaseException):
            consumers_known.reset()
            site = Site(app_of(here.url, here.queue), here.queue, here.url)
            site.request()
            is_new = consumers_look._watcher is not parent
            code = 0 if is_new and [known.is_read for known in consumers_known._known.values()] == [False] else 2
        os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


@ON_REDIS
def test_uninstall_leaves_nothing(here, forgetful):
    before = vars(Producer)["publish"], vars(QueueClass)["queue_declare"]
    with tracing():
        assert vars(Producer)["publish"] is not before[0]
        here.publish()
        thread = consumers_look._watcher.thread
        assert thread.is_alive()
    assert (vars(Producer)["publish"], vars(QueueClass)["queue_declare"]) == before
    assert not thread.is_alive()
    assert consumers_look._watcher is None
    assert not consumers_known._known
    assert consumers.State.registrar is None
