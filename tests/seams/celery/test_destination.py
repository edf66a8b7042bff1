"""Where a message goes, on real brokers: to a queue, or by an exchange to whoever wants it."""

from __future__ import annotations

import uuid

import pytest
from kombu import Exchange, Queue, pools
from kombu.common import Broadcast

from tests.celery_site.app import make_app
from tests.seams.celery.test_worker import URLS
from tests.services import require


@pytest.fixture(params=[pytest.param(name, marks=getattr(pytest.mark, name)) for name in ("redis", "rabbitmq")])
def app(request):
    require(request.param)
    app = make_app(URLS[request.param], f"clew-{uuid.uuid4().hex[:12]}")
    made: list[Queue] = []
    app.made = made
    yield app
    with app.connection() as connection:
        for queue in made:
            bound = queue(connection.default_channel)
            bound.delete()
            if queue.exchange.name:
                queue.exchange(connection.default_channel).delete()
    app.close()
    pools.reset()


def _sent(trace, app, declared, **options):
    app.made.append(declared)
    app.conf.task_queues = [declared]
    app.tasks["add"].apply_async((1, 2), **options)
    held = trace.named("apply_async/add").attributes
    return {
        name.rpartition(".")[2]: value for name, value in held.items() if "destination" in name or "exchange" in name
    }


@pytest.mark.parametrize("kind", ["direct", "topic", "fanout"])
def test_the_kind_is_the_exchanges(trace, app, kind):
    name = app.conf.task_default_queue
    queue = Queue(name, Exchange(f"{name}-news", type=kind), routing_key="news.local")
    found = _sent(trace, app, queue, queue=name)
    # To a queue of a direct exchange Celery sends by the broker's own.
    to = (name, "queue") if kind == "direct" else (f"{name}-news:news.local", "topic")
    assert (found["name"], found["destination_kind"]) == to
    assert found.get("exchange") == (None if kind == "direct" else f"{name}-news")


def test_another_queue_that_is_declared_does_not_say_it(trace, app):
    name = app.conf.task_default_queue
    with app.connection() as connection:
        Exchange(f"{name}-other", type="topic")(connection.default_channel).declare()
    queue = Queue(name, Exchange(name, type="direct"), routing_key=name)
    found = _sent(trace, app, queue, queue=name, exchange=f"{name}-other", routing_key="a.b")
    assert found["name"] == f"{name}-other:a.b"
    assert "destination_kind" not in found
    with app.connection() as connection:
        Exchange(f"{name}-other", type="topic")(connection.default_channel).delete()


def test_a_broadcast_is_no_queue(trace, app):
    name = f"{app.conf.task_default_queue}-all"
    found = _sent(trace, app, Broadcast(name, queue=f"{name}-mine"), queue=name)
    assert found.get("destination_kind") in (None, "topic")
    assert found["name"].startswith(name)
