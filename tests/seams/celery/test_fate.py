"""Real workers, real brokers, tasks that never run or whose child dies: each is told once, below its publish span."""

from __future__ import annotations

import functools
import os
import signal
import socket
import time
import uuid
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import celery.concurrency.prefork
import celery.signals
import celery.worker.consumer.consumer
import celery.worker.request
import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated, WorkerLostError
from celery.app.task import Context
from kombu import Producer
from opentelemetry import propagate
from opentelemetry import trace as otel

from clew.cli.receiver import SpanRecord
from clew.core import isolation, spans
from clew.seams.celery import fate, fate_child
from clew.seams.celery.fate_span import Fate, tell
from clew.testing import tracing
from tests.celery_site.worker import DEADLINE
from tests.seams.celery import fates
from tests.seams.celery.test_worker import Site, _connections, site  # noqa: F401 - a fixture

# kombu 5.3 and today's redis, when the worker's answer is read.
pytestmark = pytest.mark.filterwarnings("ignore:Call to 'get_connection':DeprecationWarning")


class Case(NamedTuple):
    """One way to end: how to send it, and what must be told.

    Args:
        send: sends it below the current span.
        told: name, outcome, and status of every CONSUMER span of its trace, in order.
        publish: name of the span they are below.
        more: attributes of the first of them.
    """

    send: Callable[[Site, Any], Any]
    told: list[tuple[str, str, str]]
    publish: str
    more: dict[str, Any] = {}


def _started(here: Site, folder: Any) -> str:
    """Send `hang`, wait for it; its id."""
    file = folder / uuid.uuid4().hex
    task_id = here.app.tasks["hang"].delay(str(file)).id
    until = time.monotonic() + DEADLINE
    while not file.exists():
        assert time.monotonic() < until, here.worker.log.read_text()
        time.sleep(0.02)
    return str(task_id)


def _revoke(here: Site, task_id: str, **options: Any) -> None:
    queue = here.app.conf.task_default_queue
    to = [f"{queue}@{socket.gethostname()}"]
    reply = here.app.control.revoke(task_id, destination=to, reply=True, timeout=DEADLINE, limit=1, **options)
    assert reply, here.worker.log.read_text()


def _terminate(here: Site, folder: Any, name: str) -> None:
    _revoke(here, _started(here, folder), terminate=True, signal=name)


def _revoke_before(here: Site, folder: Any) -> None:
    task_id = uuid.uuid4().hex
    _revoke(here, task_id)
    here.app.tasks["add"].apply_async((1, 2), task_id=task_id)


def _expire(here: Site, folder: Any) -> None:
    # The broker drops what expires in a queue; the worker has this one at once, and keeps it too long.
    here.app.tasks["add"].apply_async((1, 2), countdown=2, expires=1)


def _by_hand(here: Site, folder: Any, body: bytes = b"{", kind: str = "application/json", **headers: Any) -> None:
    queue, headers = here.app.conf.task_default_queue, {"id": uuid.uuid4().hex, **headers}
    propagate.inject(headers)
    with here.app.connection_for_write() as connection, Producer(connection) as producer:
        producer.publish(body, queue, content_type=kind, content_encoding="utf-8", headers=headers)


def _send(name: str, *args: Any, **options: Any) -> Callable[[Site, Any], Any]:
    return lambda here, folder: here.app.send_task(name, args, **options)


ANYWHERE = {
    "revoked": Case(_revoke_before, [("revoked/add", "revoked", "UNSET")], "apply_async/add"),
    "expired": Case(_expire, [("expired/add", "expired", "UNSET")], "apply_async/add"),
    "unknown": Case(
        _send("nobody.knows"),
        [("unknown/nobody.knows", "unknown", "ERROR")],
        "apply_async/nobody.knows",
        {"error.type": "celery.exceptions.NotRegistered"},
    ),
    "rejected": Case(
        _send("add", 1, 2, headers={"eta": "whenever"}),
        [("rejected/add", "rejected", "ERROR")],
        "apply_async/add",
        {"error.type": "celery.exceptions.InvalidTaskError"},
    ),
    "no task": Case(functools.partial(_by_hand, body=b"{}"), [("rejected/message", "rejected", "ERROR")], "no task"),
    "disallowed": Case(
        _send("add", 1, 2, serializer="pickle"),
        [("rejected/add", "undecodable", "ERROR")],
        "apply_async/add",
        {"error.type": "kombu.exceptions.ContentDisallowed"},
    ),
    "garbled": Case(
        functools.partial(_by_hand, task="add"),
        [("rejected/add", "undecodable", "ERROR")],
        "garbled",
        {"error.type": "kombu.exceptions.DecodeError"},
    ),
    "failed": Case(_send("fail"), [("run/fail", "failed", "ERROR")], "apply_async/fail"),
}
IN_A_CHILD = {
    "timed_out": Case(
        _send("hard"),
        [("lost/hard", "timed_out", "ERROR")],
        "apply_async/hard",
        {
            "error.type": "billiard.exceptions.TimeLimitExceeded",
            "celery.fate.reason": "hard time limit of 1 s exceeded",
        },
    ),
    "killed": Case(
        _send("killed"),
        [("lost/killed", "lost", "ERROR")],
        "apply_async/killed",
        {"error.type": "billiard.exceptions.WorkerLostError", "celery.child.signal": "SIGKILL"},
    ),
    "gone": Case(_send("gone"), [("lost/gone", "lost", "ERROR")], "apply_async/gone", {"celery.child.exit_code": 7}),
    "terminated": Case(
        functools.partial(_terminate, name="SIGTERM"),
        [("revoked/hang", "terminated", "UNSET")],
        "apply_async/hang",
        {"celery.child.signal": "SIGTERM"},
    ),
    "terminated at once": Case(
        functools.partial(_terminate, name="SIGKILL"),
        [("revoked/hang", "terminated", "UNSET")],
        "apply_async/hang",
        {"celery.child.signal": "SIGKILL"},
    ),
    "redelivered": Case(
        lambda here, folder: here.app.send_task("killed once", (str(folder / "once"),)),
        [("lost/killed once", "lost", "ERROR"), ("run/killed once", "succeeded", "UNSET")],
        "apply_async/killed once",
    ),
    "soft": Case(_send("soft"), [("run/soft", "failed", "ERROR")], "apply_async/soft"),
    "leave": Case(_send("leave"), [("run/leave", "failed", "ERROR")], "apply_async/leave"),
}
CASES = {**ANYWHERE, **IN_A_CHILD}


class Told(NamedTuple):
    """What a worker has told until its end: for each case the span it was sent below, and the CONSUMER spans."""

    sent: dict[str, tuple[str, str]]
    runs: dict[str, list[SpanRecord]]


def _told_by(folder: Any, broker: str, pool: str) -> Told:
    sent, cases = {}, CASES if pool == "prefork" else ANYWHERE
    environment = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
    with site(folder, broker, "grpc", "-P", pool, "-c", "2", "-I", fates.__name__, environment=environment) as here:
        fates.declare(here.app)
        for name, case in cases.items():
            with otel.get_tracer("test").start_as_current_span(name) as above:
                case.send(here, folder)
            publish = next((span for span in here.trace.spans[::-1] if span.name == case.publish), above)
            context = publish.get_span_context()
            sent[name] = (f"{context.trace_id:032x}", f"{context.span_id:016x}")
        here.gathered.wait_for(lambda all_: all(len(_of(all_, sent[each])) >= len(CASES[each].told) for each in sent))
        here.worker.stop()
        return Told(sent, {each: _of(here.gathered.spans, sent[each]) for each in sent})


def _of(spans: list[SpanRecord], sent: tuple[str, str]) -> list[SpanRecord]:
    runs = [span for span in spans if span.trace_id == sent[0] and span.kind == "CONSUMER"]
    return sorted(runs, key=lambda span: span.start_ns)


@pytest.fixture(scope="module")
def told_by(tmp_path_factory):
    """What a worker of that broker and pool tells; started once for each."""
    return functools.lru_cache(lambda broker, pool: _told_by(tmp_path_factory.mktemp("fate"), broker, pool))


WORKERS = [
    *[pytest.param(each, "redis", "prefork", marks=pytest.mark.redis, id=f"{each}-redis-prefork") for each in CASES],
    *[
        pytest.param(each, "rabbitmq", "prefork", marks=pytest.mark.rabbitmq, id=f"{each}-rabbitmq-prefork")
        for each in CASES
    ],
    *[pytest.param(each, "redis", "threads", marks=pytest.mark.redis, id=f"{each}-redis-threads") for each in ANYWHERE],
    *[
        pytest.param(each, "rabbitmq", "solo", marks=pytest.mark.rabbitmq, id=f"{each}-rabbitmq-solo")
        for each in ANYWHERE
    ],
]


@pytest.mark.parametrize(("name", "broker", "pool"), WORKERS)
def test_each_fate_is_told_once(told_by, name, broker, pool):
    """upstream-defects, celery 4 and 5."""
    case, told = CASES[name], told_by(broker, pool)
    runs, sent = told.runs[name], told.sent[name]
    assert [(run.name, run.attributes["celery.outcome"], run.status) for run in runs] == case.told
    for run in runs:
        assert (run.trace_id, run.parent_span_id) == sent
        assert [link[:2] for link in run.links] == [sent]
        assert run.attributes["messaging.system"] == broker
        assert run.attributes["messaging.message.id"]
    assert {key: runs[0].attributes.get(key) for key in case.more} == case.more


@pytest.mark.redis
def test_a_lost_run_lasts_until_the_childs_death(told_by):
    told = told_by("redis", "prefork").runs
    (killed,), (hard,), (revoked,) = told["killed"], told["timed_out"], told["revoked"]
    assert killed.end_ns - killed.start_ns >= 200_000_000
    assert hard.end_ns - hard.start_ns >= 1_000_000_000
    assert revoked.end_ns - revoked.start_ns < 100_000_000
    assert killed.attributes["celery.child.pid"] != killed.resource["process.pid"]
    assert killed.scope == fate.__name__


@pytest.mark.redis
def test_a_cold_shutdown_tells_what_it_cuts_short(tmp_path):
    with site(tmp_path, "redis", "grpc", "-P", "prefork", "-c", "1", "-I", fates.__name__) as here:
        fates.declare(here.app)
        _started(here, tmp_path)
        assert here.worker.stop(signal.SIGQUIT) < 30
        (run,) = here.gathered.runs()
        assert (run.name, run.attributes["celery.outcome"]) == ("lost/hang", "lost")
        publish = here.trace.named("apply_async/hang").context
        assert (run.trace_id, run.parent_span_id) == (f"{publish.trace_id:032x}", f"{publish.span_id:016x}")


@pytest.mark.redis
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_the_main_process_exports_hurts_no_child_that_is_just_forked(tmp_path, protocol):
    """A fork in the middle of a gRPC call: the child's exports hang. A kept HTTP connection: both write to it."""
    soon = {"OTEL_BSP_SCHEDULE_DELAY": "10"}
    arguments = ("-P", "prefork", "-c", "2", "--max-tasks-per-child", "1", "-I", fates.__name__)
    with site(tmp_path, "redis", protocol, *arguments, environment=soon) as here:
        for number in range(12):
            here.app.tasks["add"].delay(number, 1)
            here.app.send_task("nobody.knows")
        here.gathered.wait_for(lambda all_: sum(span.name == "run/add" for span in all_) >= 12)
        here.worker.stop()
        names = sorted(span.name for span in here.gathered.runs())
        assert names == ["run/add"] * 12 + ["unknown/nobody.knows"] * 12


PUBLISHED = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}


def _context(**more: Any) -> Context:
    return Context({"id": "1", "task": "add", "delivery_info": {}, **PUBLISHED, **more})


def _request(app: Any, **more: Any) -> Any:
    """What `Request.on_failure` is called with, as far as the seam reads it."""

    class Request(SimpleNamespace):
        __hash__ = object.__hash__

    known = {"task": app.tasks["add"], "_context": _context(), "worker_pid": 7, "time_start": 1_000_000.0}
    return Request(**{**known, "_already_cancelled": False, "acknowledged": False, **more})


def _einfo(error: BaseException) -> ExceptionInfo:
    try:
        raise error
    except BaseException:
        return ExceptionInfo()


@pytest.mark.parametrize("is_light", [True, False])
def test_a_fate_lasts_from_the_start_of_the_run(app, is_light):
    with tracing() as trace:
        spans.pipeline().allows_light_roots = is_light
        tell(app.tasks["add"], _context(), Fate("lost", "the child died", WorkerLostError("gone"), started=1000.5))
        span = trace.named("lost/add")
    assert span.start_time == 1_000_500_000_000
    assert span.status.description == "the child died"
    assert span.attributes["code.function.name"].endswith("add")


def test_link_mode_is_a_trace_of_its_own(app):
    with tracing(task_parent="link") as trace:
        tell(app.tasks["add"], _context(), Fate("revoked", "revoked"))
        span = trace.named("revoked/add")
    assert span.parent is None
    assert [f"{link.context.span_id:x}" for link in span.links] == ["b" * 16]
    assert span.attributes["celery.publish.trace_id"] == "a" * 32


def test_a_protocol_1_message_brings_its_headers_apart(app):
    with tracing() as trace:
        tell(
            app.tasks["add"],
            Context({"id": "1", "delivery_info": {}, "headers": PUBLISHED}),
            Fate("revoked", "revoked"),
        )
        assert f"{trace.named('revoked/add').parent.span_id:x}" == "b" * 16


@pytest.mark.parametrize(
    ("acknowledged", "told"), [(False, ("cancelled", "UNSET")), (True, ("lost", "ERROR"))], ids=["late", "early"]
)
def test_what_celery_cancels_is_lost_if_it_is_not_redelivered(app, acknowledged, told):
    request = _request(app, _already_cancelled=True, acknowledged=acknowledged)
    with tracing() as trace:
        fate._failed(request, _einfo(Terminated(-15)))
        span = trace.named("lost/add")
    assert (span.attributes["celery.outcome"], span.status.status_code.name) == told
    assert span.attributes["celery.child.signal"] == "SIGTERM"


def test_what_the_child_has_reported_is_not_told_again(app):
    request = _request(app)
    with tracing() as trace:
        fate._failed(request, _einfo(WorkerLostError("of another task's result")), return_ok=True)
        fate._failed(request, _einfo(ValueError()))
        fate._failed(request, _einfo(SystemExit(3)))
        assert not trace.spans
        fate._failed(request, _einfo(WorkerLostError("gone")))
        fate._failed(request, _einfo(WorkerLostError("gone")))
        assert len(trace.spans) == 1


@pytest.mark.parametrize("is_light", [True, False])
def test_a_dying_child_leaves_its_run_to_the_main_process(app, monkeypatch, is_light):
    """Its parent's SIGTERM raises SystemExit in the task, and some children live to export the run."""
    monkeypatch.setattr("billiard.common._should_have_exited", [True])
    with tracing() as trace:
        monkeypatch.setattr(fate.State, "installed_in", os.getpid() + 1)
        spans.pipeline().allows_light_roots = is_light
        app.tasks["add"].apply((1, 2))
        with pytest.raises(SystemExit):
            app.tasks["leave"].apply()
        assert [span.name for span in trace.spans] == ["run/add"]


def test_an_error_of_ours_does_not_reach_the_worker(app, monkeypatch):
    monkeypatch.setattr(isolation, "is_strict", False)
    monkeypatch.setattr(fate_child, "sentence", lambda *_: 1 / 0)
    called = []
    wrapper = fate._before(fate._failed)(lambda *args, **kwargs: called.append(args))
    with tracing():
        wrapper(_request(app), _einfo(WorkerLostError("gone")))
    assert len(called) == 1


def test_the_undo_restores_the_identical_objects():
    places = [
        (celery.worker.request.Request, "on_failure"),
        (celery.worker.consumer.consumer.Consumer, "on_decode_error"),
        (celery.concurrency.prefork.TaskPool, "on_terminate"),
    ]
    before = [vars(owner)[name] for owner, name in places]
    receivers = list(celery.signals.task_revoked.receivers or ())
    with tracing():
        assert all(vars(owner)[name] is not found for (owner, name), found in zip(places, before, strict=True))
    assert [vars(owner)[name] for owner, name in places] == before
    assert list(celery.signals.task_revoked.receivers or ()) == receivers


def test_switched_off_it_is_silent(app):
    with tracing(celery_fate=False) as trace:
        celery.signals.task_revoked.send(app.tasks["add"], request=_context(), terminated=False, expired=False)
        assert not trace.spans
