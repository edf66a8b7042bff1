"""Messages that stay unacknowledged longer than the visibility timeout: before they are sent, and after their run."""

from __future__ import annotations

import time
import uuid
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from celery import Celery
from celery.exceptions import Retry
from kombu import pools
from opentelemetry import trace as otel

from clew.detectors import redelivery_risk
from clew.engine import isolation
from clew.story.local_trace import LocalTrace
from clew.story.task_run import TaskRun
from clew.story.transactions import Publish
from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.celery_site.worker import Worker
from tests.detectors import troubles
from tests.detectors.shared import found, said_by, said_on, unsampled
from tests.seams.celery.in_process import until
from tests.seams.celery.test_worker import URLS, _clean_up, _connections, site  # noqa: F401 - a fixture
from tests.services import require

TYPE = "redelivery_risk"
HOUR = 3600
FIX = (
    "keep long delays out of the broker (store when it is due, and let a periodic task send what is), or set "
    'broker_transport_options = {"visibility_timeout": seconds} above the longest of them in every worker and sender'
)


@pytest.fixture
def app():
    """An app with a real Redis and a queue of its own, which nobody reads."""
    require("redis")
    queue = f"clew-{uuid.uuid4().hex[:12]}"
    app = make_app(URLS["redis"], queue)
    yield app
    _clean_up(app, "redis", queue)
    pools.reset()


def sent(app, name="add", count=1, **options):
    """What is found when a task is sent below a root span."""
    with tracing() as trace:
        with otel.get_tracer("tests").start_as_current_span("root"):
            for _ in range(count):
                app.send_task(name, (1, 2), **options)
        return found(trace, TYPE), trace


def ahead(seconds, zone=timezone.utc):
    return datetime.now(zone) + timedelta(seconds=seconds)


@pytest.mark.redis
def test_detects_an_eta_beyond_the_timeout(app):
    (finding,), trace = sent(app, countdown=2 * HOUR)
    assert finding.message == (
        "add is due in 2 h, but Redis delivers what is unacknowledged again after 1 h (visibility_timeout): it will "
        "run more than once"
    )
    assert finding.fix == FIX
    assert finding.severity == "warning"
    assert finding.evidence == {"task": "add", "delay_s": 7200, "visibility_timeout_s": 3600, "count": 1}
    assert finding.site.path == __file__
    assert said_on(trace, "apply_async/add") == [TYPE]


FAR = {
    "aware": lambda: {"eta": ahead(2 * HOUR)},
    "elsewhere": lambda: {"eta": ahead(2 * HOUR, timezone(timedelta(hours=9)))},
    "naive is UTC": lambda: {"eta": ahead(2 * HOUR).replace(tzinfo=None)},
    "text": lambda: {"eta": ahead(2 * HOUR).isoformat()},
    "text with Z": lambda: {"eta": ahead(2 * HOUR).replace(tzinfo=None).isoformat() + "Z"},
    "a countdown goes first": lambda: {"countdown": 2 * HOUR, "eta": ahead(1)},
    "fractions": lambda: {"countdown": 7200.5},
}


@pytest.mark.redis
@pytest.mark.parametrize("way", FAR)
def test_detects_every_way_to_say_when(app, way):
    (finding,), _ = sent(app, **FAR[way]())
    assert abs(finding.evidence["delay_s"] - 7200) <= 5


@pytest.mark.redis
@pytest.mark.parametrize("expires", [HOUR, HOUR + 1800.5, 2 * HOUR])
def test_no_false_positive_for_what_expires_before_it_is_due(app, expires):
    assert sent(app, countdown=2 * HOUR, expires=expires)[0] == []
    assert sent(app, countdown=2 * HOUR, expires=ahead(expires - 5))[0] == []


@pytest.mark.redis
def test_detects_what_expires_after_it_is_due(app):
    assert len(sent(app, countdown=2 * HOUR, expires=3 * HOUR)[0]) == 1


@pytest.mark.redis
def test_detects_a_loop_once(app):
    (finding,), _ = sent(app, count=3, countdown=2 * HOUR)
    assert finding.evidence["count"] == 3


@pytest.mark.redis
def test_detects_the_timeout_of_the_app(app):
    app.conf.broker_transport_options = {"visibility_timeout": 60}
    (finding,), _ = sent(app, countdown=90)
    assert finding.message.startswith(
        "add is due in 90 s, but Redis delivers what is unacknowledged again after 1 min (visibility_timeout): "
    )


@pytest.mark.redis
def test_detects_a_retry_far_ahead(app):
    @app.task(name="far", bind=True, shared=False)
    def far(self):
        raise self.retry(countdown=2 * HOUR)

    far.push_request(called_directly=False, is_eager=False, id="1", delivery_info={}, args=(), kwargs={})
    with tracing() as trace:
        with otel.get_tracer("tests").start_as_current_span("root"), pytest.raises(Retry):
            far.run()
        assert [each.evidence["delay_s"] for each in found(trace, TYPE)] == [7200]
    far.pop_request()


@pytest.mark.redis
def test_detects_it_in_an_unsampled_run(app):
    @app.task(name="sender", shared=False)
    def sender():
        app.send_task("add", (1, 2), countdown=2 * HOUR)

    assert [each.type for each in unsampled(sender.apply) if each.type == TYPE] == [TYPE]


NEAR = {
    "at once": dict,
    "countdown": lambda: {"countdown": HOUR - 60},
    "eta": lambda: {"eta": ahead(HOUR - 60)},
    "in the past": lambda: {"eta": ahead(-2 * HOUR)},
    "expires later": lambda: {"expires": 2 * HOUR},
    "zero": lambda: {"countdown": 0},
}


@pytest.mark.redis
@pytest.mark.parametrize("way", NEAR)
def test_no_false_positive_before_the_timeout(app, way):
    assert sent(app, **NEAR[way]())[0] == []


@pytest.mark.redis
def test_no_false_positive_where_the_timeout_is_longer(app):
    app.conf.broker_transport_options = {"visibility_timeout": 24 * HOUR}
    assert sent(app, countdown=2 * HOUR)[0] == []


@pytest.mark.rabbitmq
def test_no_false_positive_on_rabbitmq():
    require("rabbitmq")
    queue = f"clew-{uuid.uuid4().hex[:12]}"
    app = make_app(URLS["rabbitmq"], queue)
    try:
        assert sent(app, countdown=24 * HOUR)[0] == []
    finally:
        _clean_up(app, "rabbitmq", queue)
        pools.reset()


def test_no_false_positive_in_this_process_alone():
    assert sent(make_app(queue=f"clew-{uuid.uuid4().hex[:12]}"), countdown=24 * HOUR)[0] == []


class Root:
    """A span nobody records."""

    def __init__(self):
        self.span = self

    def is_recording(self):
        return False


def publish_to(url, options, app=None, **conf):
    """What is said of a publish over a broker that does not run here."""
    app = app or make_app()
    app.conf.update(broker_url=url, **conf)
    publish = Publish(LocalTrace(Root(), 10), "far", None, None, is_eager=False)
    publish.app, publish.options = app, options
    redelivery_risk.DETECTOR.on_publish(publish)
    return [] if publish.local.findings is None else [each.message for each in publish.local.findings]


@pytest.mark.parametrize(
    ("url", "options", "timeout"),
    [
        ("sqs://", {}, "30 min"),
        ("sqs://", {"visibility_timeout": 600}, "10 min"),
        ("sqs://", {"predefined_queues": {"q": {}}, "visibility_timeout": "1200"}, "20 min"),
        ("rediss://a:1/0", {"visibility_timeout": 1.5}, "1.5 s"),
        ("sentinel://a:1;sentinel://b:1", {}, "1 h"),
        (["redis://a:1", "redis://b:1"], {}, "1 h"),
        ("redis+socket:///tmp/redis", {}, "1 h"),
    ],
)
def test_detects_it_for_every_broker_with_a_timeout(url, options, timeout):
    (message,) = publish_to(url, {"countdown": 24 * HOUR}, broker_transport_options=options)
    assert f"again after {timeout} (visibility_timeout)" in message


@pytest.mark.parametrize("url", ["amqp://", "filesystem://", "gcpubsub://x", ""])
def test_no_false_positive_for_brokers_without(url):
    assert publish_to(url, {"countdown": 24 * HOUR}) == []


def test_detects_the_deadline_of_azure():
    (finding,) = publish_to("azureservicebus://", {"countdown": 300})
    assert "Azure Service Bus delivers what is unacknowledged again after 1 min (peek_lock_seconds)" in str(finding)


def test_no_false_positive_for_azure_with_renewed_locks():
    options = {"use_lock_renewal": True}
    assert publish_to("azureservicebus://", {"countdown": 300}, broker_transport_options=options) == []


def test_no_false_positive_for_queues_of_sqs_that_others_have_made():
    options = {"predefined_queues": {"q": {"url": "https://x"}}}
    assert publish_to("sqs://", {"countdown": 24 * HOUR}, broker_transport_options=options) == []


class Stranger:
    """Something lazy: whoever asks it for anything fails."""

    def __getattribute__(self, name):
        raise AssertionError(f"asked for {name}")


@pytest.mark.parametrize("options", [{"countdown": Stranger()}, {"eta": Stranger()}, {"eta": "whenever"}, {"eta": 5}])
def test_no_false_positive_for_what_is_no_time(options):
    assert isolation.is_strict
    assert publish_to("redis://", options) == []


def test_the_app_is_not_finalized():
    app = Celery("own", broker="redis://", set_as_current=False)
    assert publish_to("redis://", {"countdown": 24 * HOUR}, app)
    assert not app.finalized


def run_of(
    held=0.0,
    ran=0.0,
    asked=0.0,
    ago=None,
    *,
    late=False,
    redelivered=False,
    system="redis",
    timeout=None,
    expires=None,
):
    """What is said of a run: held in the worker before it began, its own length, its ETA after its publish; seconds."""
    app = make_app("redis://")
    if timeout:
        app.conf.broker_transport_options = {"visibility_timeout": timeout}
    task = SimpleNamespace(app=app, acks_late=late, name="far")
    request = SimpleNamespace(is_eager=False, delivery_info={"redelivered": redelivered}, expires=expires)
    run = TaskRun(LocalTrace(Root(), 10), task, request)
    run.system, run.started_ns = system, time.time_ns()
    run.ended_ns = run.started_ns + int(ran * 1e9)
    run.received_ns = run.started_ns - int(held * 1e9)
    run.published_ns = run.started_ns - int((held if ago is None else ago) * 1e9)
    run.eta_ns = run.published_ns + int(asked * 1e9) if asked else 0
    redelivery_risk.DETECTOR.on_task_end(run)
    return (
        [] if run.local.findings is None else [(each.message, each.fix, each.severity) for each in run.local.findings]
    )


def test_no_false_positive_for_a_run_whose_message_expires_before_it_is_delivered_again():
    assert run_of(ran=2 * HOUR, late=True, expires=ahead(60).isoformat()) == []
    assert len(run_of(ran=2 * HOUR, late=True, expires=ahead(3 * HOUR).isoformat())) == 1


RAISE = 'set broker_transport_options = {"visibility_timeout": seconds} above the longest '
SAFE = " in every worker, and make the task safe to run twice"
RISKS = {
    "a long acks_late run": (
        {"ran": 2 * HOUR, "late": True},
        "far kept its message unacknowledged for 2 h until it was over (acks_late), longer than Redis waits (1 h, "
        "visibility_timeout): it has been, or will be, run again",
        f"{RAISE}run{SAFE}",
    ),
    "prefetched for long": (
        {"held": 2 * HOUR},
        "far kept its message unacknowledged for 2 h before it was started, longer than Redis waits (1 h, "
        "visibility_timeout): it has been, or will be, run again",
        f"{RAISE}wait{SAFE}; worker_prefetch_multiplier = 1 leaves in the broker what no process is free for",
    ),
    "an ETA": (
        {"held": 2 * HOUR, "asked": 2 * HOUR},
        "far kept its message unacknowledged for 2 h before it was started, longer than Redis waits (1 h, "
        "visibility_timeout): it has been, or will be, run again",
        f"{RAISE}ETA{SAFE}",
    ),
    "a wait and a run together": (
        {"held": 40 * 60, "ran": 40 * 60, "late": True},
        "far kept its message unacknowledged for 80 min until it was over (acks_late), longer than Redis waits (1 h, "
        "visibility_timeout): it has been, or will be, run again",
        f"{RAISE}run{SAFE}",
    ),
    "the copy of a message with an ETA": (
        {"asked": 2 * HOUR, "ago": 2 * HOUR, "redelivered": True},
        "far was delivered again: its ETA was 2 h after it was sent, and Redis delivers what is unacknowledged again "
        "after 1 h (visibility_timeout); it may have run before, or run elsewhere",
        f"{RAISE}ETA{SAFE}",
    ),
    "SQS": (
        {"ran": HOUR, "late": True, "system": "aws_sqs"},
        "far kept its message unacknowledged for 1 h until it was over (acks_late), longer than SQS waits (30 min, "
        "visibility_timeout): it has been, or will be, run again",
        f"{RAISE}run{SAFE}",
    ),
}


@pytest.mark.parametrize("case", RISKS)
def test_detects_a_run(case):
    options, message, fix = RISKS[case]
    assert run_of(**options) == [(message, fix, "warning")]


def test_no_false_positive_for_what_a_worker_gave_back_after_a_long_wait():
    """Acknowledged late and sent long ago: a copy of a long run looks the same, so it is information."""
    assert run_of(ago=2 * HOUR, redelivered=True, late=True) == [
        (
            "far was delivered again: it was started 2 h after it was sent, and Redis delivers what is unacknowledged "
            "again after 1 h (visibility_timeout); it may have run before, or run elsewhere, if it was not given back "
            "by a worker that stopped",
            f"{RAISE}run{SAFE}",
            "information",
        )
    ]


SAFE_RUNS = {
    "a long run that is acknowledged first": {"ran": 2 * HOUR},
    "a long wait in the broker": {"ago": 2 * HOUR},
    "a long wait in the broker, acks_late": {"ago": 2 * HOUR, "late": True, "ran": 60},
    "short": {"held": 60, "ran": 60, "late": True},
    "redelivered at once, after a restart": {"redelivered": True, "late": True, "ago": 30},
    "redelivered after a long wait in the broker": {"redelivered": True, "ago": 2 * HOUR},
    "redelivered, its ETA near": {"redelivered": True, "ago": 2 * HOUR, "asked": 60},
    "a longer timeout": {"ran": 2 * HOUR, "late": True, "timeout": 3 * HOUR},
    "RabbitMQ": {"ran": 2 * HOUR, "held": 2 * HOUR, "late": True, "redelivered": True, "system": "rabbitmq"},
    "an eager run": {"ran": 2 * HOUR, "late": True, "system": ""},
}


@pytest.mark.parametrize("case", SAFE_RUNS)
def test_no_false_positive_for_a_run(case):
    assert run_of(**SAFE_RUNS[case]) == []


@pytest.mark.redis
def test_detects_messages_that_really_are_delivered_twice(tmp_path):
    """A worker holds an ETA and a long run for more than 2 s; a second worker gets both messages as well."""
    environment = {"CELERY_SITE_VISIBILITY_TIMEOUT": "2", "OTEL_BSP_SCHEDULE_DELAY": "100"}
    pool = ("-P", "prefork", "-c", "2", "-I", troubles.__name__)
    with site(tmp_path, "redis", "grpc", *pool, environment=environment) as here:
        queue = here.app.conf.task_default_queue
        here.app.conf.broker_transport_options = {"visibility_timeout": 2}
        over = tmp_path / "over"
        with otel.get_tracer("tests").start_as_current_span("root"):
            here.app.send_task("late", (str(over),))
            here.app.send_task("add", (1, 1), countdown=20)
        here.worker.wait_for_log("Task add[")
        here.worker.wait_for_log("Task late[")
        time.sleep(2.5)
        endpoint = here.worker._environment["OTEL_EXPORTER_OTLP_ENDPOINT"]
        more = {"CELERY_SITE_BACKEND": URLS["redis"], **environment}
        with Worker(URLS["redis"], queue, endpoint, tmp_path, *pool, environment=more) as second:
            # Either may get the copies.
            until(lambda: received("late", here.worker, second) == received("add", here.worker, second) == 2)
            over.touch()
            here.gathered.wait_for(lambda spans: sum(each.kind == "CONSUMER" for each in spans) >= 4)
        here.worker.stop()
        runs = here.gathered.runs()
        publishes = found(here.trace, TYPE)
    assert [each.evidence["task"] for each in publishes] == ["add"]
    assert sorted(run.name for run in runs) == ["run/add", "run/add", "run/late", "run/late"]
    said = {(run.name, run.attributes.get("celery.redelivered", False)): message_of(run) for run in runs}
    assert "add kept its message unacknowledged for " in said["run/add", False]
    assert "late kept its message unacknowledged for " in said["run/late", False]
    assert "add was delivered again: its ETA was 20 s after it was sent, and Redis " in said["run/add", True]
    assert "late was delivered again: it was started " in said["run/late", True]


def received(name, *workers):
    return sum(worker.log.read_text(errors="replace").count(f"Task {name}[") for worker in workers)


def message_of(run):
    (finding,) = said_by(run, TYPE)
    return finding["clew.finding.about"]
