"""With a driver instrumentation, kombu's own traffic with Redis makes no traces; what is the application's stays."""

from __future__ import annotations

import contextlib
import uuid
from collections.abc import Iterator
from typing import Any

import kombu
import kombu.transport.redis
import pytest
import redis
from opentelemetry import trace as otel

from clew.engine import isolation
from clew.seams.celery import polling
from clew.testing import Trace, tracing
from tests.seams.celery.test_worker import URLS, _connections, site, wait_for_finished  # noqa: F401 - a fixture
from tests.services import require

# The oldest versions are tested without it.
RedisInstrumentor = pytest.importorskip("opentelemetry.instrumentation.redis").RedisInstrumentor

pytestmark = [pytest.mark.redis, pytest.mark.filterwarnings("ignore:Call to 'get_connection':DeprecationWarning")]

WITH_REDIS = {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "django", "OTEL_BSP_SCHEDULE_DELAY": "100"}
UPSTREAM = {**WITH_REDIS, "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "django,clew"}


@contextlib.contextmanager
def instrumented(**settings: Any) -> Iterator[Trace]:
    """Both: the driver's instrumentation, and clew."""
    require("redis")
    with tracing(**settings) as trace:
        RedisInstrumentor().instrument()
        try:
            yield trace
        finally:
            RedisInstrumentor().uninstrument()


class Broker:
    """A queue on Redis, used as a worker does, without a worker's threads."""

    def __init__(self, prefix: str = "") -> None:
        self.connection = kombu.Connection(URLS["redis"], transport_options={"global_keyprefix": prefix})
        name = f"clew-{uuid.uuid4().hex[:12]}"
        self.queue = kombu.Queue(name, kombu.Exchange(name), routing_key=name)
        self.channel = self.connection.default_channel

    def publish(self) -> None:
        where = {"exchange": self.queue.exchange, "routing_key": self.queue.name, "declare": [self.queue]}
        kombu.Producer(self.channel).publish({}, **where)

    def consume(self) -> int:
        """Receive one, acknowledge it, and look for what nobody acknowledged; how many it received."""
        got: list[Any] = []
        with kombu.Consumer(self.channel, self.queue, callbacks=[lambda _, message: got.append(message.ack())]):
            self.connection.drain_events(timeout=30)
        self.channel.qos.restore_visible(interval=1)
        return len(got)

    def close(self) -> None:
        self.channel.queue_delete(self.queue.name)
        self.connection.close()


@pytest.fixture(params=["", "prefix:"])
def broker(request):
    require("redis")
    found = Broker(request.param)
    yield found
    found.close()


def names(trace: Trace) -> set[str]:
    return {word for span in trace.spans for word in span.name.split()}


def test_what_kombu_does_by_itself_is_silent():
    """docs/upstream.md, celery 11."""
    with instrumented() as trace:
        broker = Broker()
        broker.publish()
        assert broker.consume() == 1
        broker.close()
        assert trace.tree() == ""


def test_upstream_alone_makes_traces_of_it():
    """docs/upstream.md, celery 11, upstream alone: when this fails, delete the seam."""
    with instrumented(celery_polling=False) as trace:
        broker = Broker()
        broker.publish()
        broker.consume()
        broker.close()
        assert names(trace) >= {"LPUSH", "ZADD", "ZREM", "SET", "EVALSHA"}
        assert not [span for span in trace.spans if span.parent]


def test_below_a_span_the_drivers_spans_stay():
    with instrumented() as trace:
        broker = Broker()
        with otel.get_tracer("user").start_as_current_span("request"):
            broker.publish()
        broker.close()
        assert trace.tree().splitlines()[0] == "request"
        assert "  CLIENT LPUSH" in trace.tree().splitlines()
        assert all(line.startswith("  ") for line in trace.tree().splitlines()[1:])


def test_the_applications_own_commands_stay():
    with instrumented() as trace:
        with redis.Redis(db=9) as client:
            client.get("clew")
            client.pipeline().get("clew").execute()
        assert trace.tree() == "CLIENT GET\nCLIENT GET"


def test_results_and_types_are_as_they_were(broker):
    with instrumented() as trace:
        quiet = Broker(broker.channel.global_keyprefix)
        client, own = quiet.channel._create_client(), broker.channel._create_client()
        assert isinstance(client, type(own)) is True
        assert repr(type(client)) == repr(type(own))
        assert quiet.channel._create_client().__class__ is client.__class__
        assert client.ping() is True
        with client.pipeline() as pipe:
            pipe.watch(quiet.queue.name)
            assert pipe.llen(quiet.queue.name) == 0
            pipe.multi()
            pipe.llen(quiet.queue.name)
            assert pipe.execute() == [0]
        with pytest.raises(redis.ResponseError):
            client.execute_command("NOSUCHCOMMAND")
        assert not trace.spans
        quiet.close()


def test_a_worker_makes_no_traces_of_its_own_polling(tmp_path):
    with site(tmp_path, "redis", "grpc", "-P", "prefork", "-c", "1", environment=WITH_REDIS) as here:
        here.app.tasks["add"].apply_async((1, 2), ignore_result=False)
        wait_for_finished(here.worker, 1)
        here.gathered.wait_for(lambda all_: any(span.name == "run/add" for span in all_))
        here.worker.stop()
        found = here.gathered.spans
    (run,) = [span for span in found if span.name == "run/add"]
    clients = [span for span in found if span.kind == "CLIENT"]
    assert clients, "the result is stored below the run"
    assert {span.parent_span_id for span in clients} == {run.span_id}


def test_upstream_alone_fills_the_backend_with_polling(tmp_path):
    """docs/upstream.md, celery 11, upstream alone: when this fails, delete the seam."""
    with site(tmp_path, "redis", "grpc", "-P", "prefork", "-c", "1", environment=UPSTREAM) as here:
        here.app.tasks["add"].delay(1, 2)
        wait_for_finished(here.worker, 1)
        here.worker.stop()
        clients = [span for span in here.gathered.spans if span.kind == "CLIENT" and not span.parent_span_id]
    assert clients


def test_an_error_of_ours_leaves_the_client_as_it_was(monkeypatch, broker):
    monkeypatch.setattr(isolation, "is_strict", False)
    monkeypatch.setattr(polling, "_quiet_class", lambda own: 1 / 0)
    with tracing():
        assert broker.channel._create_client().ping() is True


def test_the_undo_restores_the_identical_objects(broker):
    channel = kombu.transport.redis.Channel
    before = vars(channel)["_create_client"]
    with tracing():
        assert vars(channel)["_create_client"] is not before
        client = broker.channel._create_client()
    assert vars(channel)["_create_client"] is before
    with instrumented(celery_polling=False) as trace:
        client.ping()
        assert trace.tree() == "CLIENT PING"
