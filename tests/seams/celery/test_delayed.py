"""Native delayed delivery of RabbitMQ's quorum queues: the routing key has the countdown, no metric's label has it."""

from __future__ import annotations

import uuid

import pytest
from celery.contrib.testing.worker import start_worker

from clew.seams.celery.message import metrics
from clew.seams.celery.message.attributes import destination
from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.celery_site.worker import DEADLINE
from tests.seams.celery.in_process import until
from tests.seams.celery.test_metrics import points, reader  # noqa: F401 - a fixture
from tests.seams.celery.test_worker import URLS, _clean_up, _connections  # noqa: F401 - a fixture
from tests.services import require

BITS = ".".join(f"{3:028b}")


@pytest.mark.parametrize(
    ("exchange", "key", "name"),
    [
        ("celery_delayed_27", f"{BITS}.mail", "mail"),
        ("celery_delayed_0", f"{BITS}.1.0.mail", "1.0.mail"),
        ("celery_delayed_delivery", f"{BITS}.mail", "mail"),
        ("shop_celery_delayed_27", f"{BITS}.{BITS}.mail", "mail"),
        ("celery_delayed_27", "mail", "mail"),
        ("celery_delayed_mail", f"{BITS}.mail", f"celery_delayed_mail:{BITS}.mail"),
        ("mail", f"{BITS}.mail", f"mail:{BITS}.mail"),
    ],
)
def test_a_countdown_is_no_part_of_a_destination(exchange, key, name):
    found = destination({"exchange": exchange, "routing_key": key})
    assert found == {"messaging.destination": key, "messaging.destination.name": name}


@pytest.mark.rabbitmq
def test_delayed_messages_of_quorum_queues_are_one_time_series(reader):  # noqa: F811
    pytest.importorskip("kombu.transport.native_delayed_delivery")
    require("rabbitmq")
    queue = f"clew-{uuid.uuid4().hex[:12]}"
    conf = {"task_default_exchange": queue, "task_default_routing_key": queue, "task_default_exchange_type": "topic"}
    app = make_app(URLS["rabbitmq"], queue, task_default_queue_type="quorum", **conf)
    app.conf.broker_transport_options = {"confirm_publish": True}
    try:
        with tracing() as trace, start_worker(app, perform_ping_check=False, shutdown_timeout=DEADLINE):
            for seconds in (1, 2):
                app.tasks["add"].apply_async((1, 2), countdown=seconds)
            until(lambda: sum(point.count for point in points(reader).get(metrics.PROCESS_DURATION, ())) == 2)
            keys = {span.attributes["messaging.destination"] for span in trace.spans if "/add" in span.name}
        found = points(reader)
    finally:
        _clean_up(app, "rabbitmq", queue)
    assert len(keys) == 2, "it was delivered natively"
    for name in (metrics.SENT, metrics.CONSUMED, metrics.PROCESS_DURATION, metrics.TASKS, metrics.QUEUE_DURATION):
        (point,) = found[name]
        assert point.attributes["messaging.destination.name"] == queue
