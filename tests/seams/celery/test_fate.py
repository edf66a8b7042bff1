"""What the worker's main process tells of: pools without children, forks in the middle of an export, and the details.

Every fate on a real prefork worker is a row in test_all_fates.py.
"""

from __future__ import annotations

import functools
import gc
import os
import socket
import time
import uuid
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, NamedTuple

import celery.concurrency.prefork
import celery.signals
import celery.worker.consumer.consumer
import celery.worker.request
import pytest
from billiard.einfo import ExceptionInfo
from billiard.exceptions import Terminated, TimeLimitExceeded, WorkerLostError
from celery.app.task import Context
from celery.app.trace import build_tracer
from celery.exceptions import Reject
from kombu import Producer
from opentelemetry import propagate
from opentelemetry import trace as otel

from clew.cli.view.receiver import SpanRecord
from clew.engine import isolation
from clew.engine.wrapper import Around
from clew.seams.celery import fate
from clew.seams.celery.fate import child as fate_child
from clew.seams.celery.fate import marks as fate_marks
from clew.seams.celery.fate import request as fate_request
from clew.seams.celery.fate.span import Fate, open_report
from clew.seams.celery.message.headers import RECEIVED
from clew.spans import scope as spans
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


def _revoke(here: Site, task_id: str, **options: Any) -> None:
    queue = here.app.conf.task_default_queue
    to = [f"{queue}@{socket.gethostname()}"]
    reply = here.app.control.revoke(task_id, destination=to, reply=True, timeout=DEADLINE, limit=1, **options)
    assert reply, here.worker.log.read_text()


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


CASES = {
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


class Told(NamedTuple):
    """What a worker has told until its end: for each case the span it was sent below, and the CONSUMER spans."""

    sent: dict[str, tuple[str, str]]
    runs: dict[str, list[SpanRecord]]


def _told_by(folder: Any, broker: str, pool: str) -> Told:
    sent: dict[str, tuple[str, str]] = {}
    environment = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
    with site(folder, broker, "grpc", "-P", pool, "-c", "2", "-I", fates.__name__, environment=environment) as here:
        fates.declare(here.app)
        for name, case in CASES.items():
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
    *[pytest.param(each, "redis", "threads", marks=pytest.mark.redis, id=f"{each}-redis-threads") for each in CASES],
    *[pytest.param(each, "rabbitmq", "solo", marks=pytest.mark.rabbitmq, id=f"{each}-rabbitmq-solo") for each in CASES],
]


@pytest.mark.parametrize(("name", "broker", "pool"), WORKERS)
def test_each_fate_is_told_once(told_by, name, broker, pool):
    """docs/upstream.md, celery 4 and 5."""
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
RUN = {RECEIVED: f"1:0:{'d' * 32}:{'c' * 16}:1"}


def _context(**more: Any) -> Context:
    return Context({"id": "1", "task": "add", "delivery_info": {}, **PUBLISHED, **more})


def _request(app: Any, **more: Any) -> Any:
    """What `Request.on_failure` is called with, as far as the seam reads it."""

    class Request(SimpleNamespace):
        __hash__ = object.__hash__

    known = {"task": app.tasks["add"], "_context": _context(), "worker_pid": 7, "time_start": 1_000_000.0, "eta": None}
    known |= {"request_dict": {}, "id": "1", "_apply_result": None}
    return Request(**{**known, "_already_cancelled": False, "acknowledged": False, **more})


def _einfo(error: BaseException) -> ExceptionInfo:
    try:
        raise error
    except BaseException:
        return ExceptionInfo()


def _tell(*what: Any) -> None:
    told = open_report(*what)
    assert told is not None
    told.end()


def below(name: str, find: Any, then: Any) -> Any:
    """A method of Celery's `Request`, as the seam wraps it, that does `then`."""

    @functools.wraps(getattr(celery.worker.request.Request, name))
    def method(*args: Any, **kwargs: Any) -> Any:
        return then(*args, **kwargs)

    return fate_request.below(find)(method)


def _failed(request: Any, error: BaseException, then: Callable[..., Any] = lambda *_, **__: None, **more: Any) -> None:
    """`Request.on_failure`, in which Celery does `then`."""
    below("on_failure", fate_request.failing, then)(request, _einfo(error), **more)


@pytest.mark.parametrize("is_light", [True, False])
def test_a_fate_lasts_from_the_start_of_the_run(app, is_light):
    with tracing() as trace:
        spans.pipeline().allows_light_roots = is_light
        _tell(app.tasks["add"], _context(), Fate("lost", "the child died", WorkerLostError("gone"), started=1000.5))
        span = trace.named("lost/add")
    assert span.start_time == 1_000_500_000_000
    assert span.status.description == "the child died"
    assert span.attributes["code.function.name"].endswith("add")


def test_link_mode_is_a_trace_of_its_own(app):
    with tracing(task_parent="link") as trace:
        _tell(app.tasks["add"], _context(**RUN), Fate("revoked", "revoked"))
        span = trace.named("revoked/add")
    assert span.parent is None
    assert [f"{link.context.span_id:x}" for link in span.links] == ["b" * 16]
    assert span.attributes["celery.publish.trace_id"] == "a" * 32
    assert (f"{span.context.trace_id:x}", f"{span.context.span_id:x}") == ("d" * 32, "c" * 16)


def test_a_protocol_1_message_brings_its_headers_apart(app):
    with tracing() as trace:
        _tell(
            app.tasks["add"],
            Context({"id": "1", "delivery_info": {}, "headers": PUBLISHED}),
            Fate("revoked", "revoked"),
        )
        assert f"{trace.named('revoked/add').parent.span_id:x}" == "b" * 16


@pytest.mark.parametrize("is_light", [True, False])
def test_what_celery_sends_for_a_dead_task_is_below_its_fate(app, is_light):
    """`on_failure`, then `on_timeout`: one span, which ends at the death, and both calls' messages below it."""
    request = _request(app, _context=_context(**RUN))

    def send(*_: Any, **__: Any) -> None:
        time.sleep(0.02)
        app.send_task("errback")

    with tracing() as trace:
        spans.pipeline().allows_light_roots = is_light
        _failed(request, TimeLimitExceeded(1), send)
        below("on_timeout", fate_request.timing_out, send)(request, soft=False, timeout=1)
        (lost,) = _all(trace, "lost/add")
        sent = _all(trace, "apply_async/errback")
    assert [span.parent.span_id for span in sent] == [lost.context.span_id] * 2
    assert all(span.start_time > lost.end_time for span in sent)
    assert not is_light or f"{lost.context.span_id:x}" == "c" * 16
    assert not otel.get_current_span().get_span_context().is_valid


@pytest.mark.parametrize("mode", ["parent", "link"])
def test_what_celery_sends_for_a_run_the_child_has_told_of_is_below_that(app, mode):
    """Celery 5.7 fails a task that rejects its message, in the main process; a terminated one is not dead yet."""
    request = _request(app, _context=_context(**RUN))
    with tracing(task_parent=mode) as trace:
        _failed(request, Reject("bad"), lambda *_, **__: app.send_task("errback"), return_ok=True)
        revoke = below("_announce_revoked", fate_request.revoking, lambda *_: app.send_task("body"))
        revoke(request, "terminated", True, 15, False)
        sent = [trace.named("apply_async/errback"), trace.named("apply_async/body")]
    trace_id = ("a" if mode == "parent" else "d") * 32
    assert {(f"{each.parent.trace_id:x}", f"{each.parent.span_id:x}") for each in sent} == {(trace_id, "c" * 16)}


def test_celerys_own_error_passes_and_the_fate_is_told(app):
    with tracing() as trace:
        with pytest.raises(MemoryError):
            _failed(_request(app), WorkerLostError("gone"), lambda *_, **__: _raise(MemoryError()))
        assert trace.named("lost/add")
    assert not otel.get_current_span().get_span_context().is_valid


def _all(trace: Any, name: str) -> list[Any]:
    return [span for span in trace.spans if span.name == name]


def _raise(error: BaseException) -> None:
    raise error


@pytest.mark.parametrize(
    ("acknowledged", "told"), [(False, ("cancelled", "UNSET")), (True, ("lost", "ERROR"))], ids=["late", "early"]
)
def test_what_celery_cancels_is_lost_if_it_is_not_redelivered(app, acknowledged, told):
    request = _request(app, _already_cancelled=True, acknowledged=acknowledged)
    with tracing() as trace:
        _failed(request, Terminated(-15))
        span = trace.named("lost/add")
    assert (span.attributes["celery.outcome"], span.status.status_code.name) == told
    assert span.attributes["celery.child.signal"] == "SIGTERM"
    assert span.attributes["celery.state"] == "RETRY"


def test_what_is_cancelled_without_a_result_has_no_state(app):
    request = _request(app, _already_cancelled=True)

    def _announce_cancelled(self: Any, emit_retry: bool = True) -> None:
        """As from Celery 5.6 on."""

    with tracing() as trace:
        fate_request.below(fate_request.cancelling)(_announce_cancelled)(request, emit_retry=False)
        _failed(request, Terminated(-15))
        assert "celery.state" not in trace.named("lost/add").attributes


def test_what_celery_does_then_is_said(app):
    def reject(request: Any, *_: Any) -> None:
        below("reject", fate_request.rejecting, lambda *_, **__: None)(request, requeue=True)

    def retry(request: Any, *_: Any) -> None:
        Around(note=fate_request.retried)(lambda self: True)(request)

    def know(request: Any, *_: Any) -> None:
        Around(note=fate_request.succeeded)(lambda self: {"status": "SUCCESS"})(request)

    found = []
    for then in (reject, retry, know):
        with tracing() as trace:
            _failed(_request(app), WorkerLostError("gone"), then)
            span = trace.named("lost/add")
        held = [span.attributes.get(f"celery.{key}") for key in ("outcome", "state", "fate.next")]
        found.append((*held, span.status.status_code.name))
    assert found == [
        ("lost", None, "requeued", "ERROR"),
        ("lost", "RETRY", "retried", "ERROR"),
        ("succeeded", "SUCCESS", None, "UNSET"),
    ]


def test_a_run_that_was_over_when_its_child_died(app):
    """Just before: the fate has the run's id and says so. Long before: the child has exported it."""
    found = []
    for before_ns in (0, 10_000_000_000):
        fate_marks.share()
        fate_marks.mark(int("c" * 16, 16), "succeeded", time.time_ns() - before_ns)
        with tracing() as trace:
            # Installing does not share, the pool's start does.
            _failed(_request(app, worker_pid=os.getpid(), _context=_context(**RUN)), WorkerLostError("gone"))
            (span,) = _all(trace, "lost/add")
        assert span.attributes["celery.run.outcome"] == "succeeded"
        found.append((span.kind.name, f"{span.context.span_id:x}" == "c" * 16, f"{span.parent.span_id:x}"))
    assert found == [("CONSUMER", True, "b" * 16), ("INTERNAL", False, "c" * 16)]


def test_an_eta_that_is_no_time(app):
    request = _request(app, eta="later", time_start=None)
    with tracing() as trace:
        below("reject", fate_request.rejecting, lambda *_, **__: None)(request, requeue=False)
        assert trace.named("rejected/add").attributes["celery.outcome"] == "rejected"


def test_what_the_child_has_reported_is_not_told_again(app):
    request = _request(app)
    with tracing() as trace:
        _failed(request, WorkerLostError("of another task's result"), return_ok=True)
        _failed(request, ValueError())
        _failed(request, SystemExit(3))
        assert not trace.spans
        _failed(request, WorkerLostError("gone"))
        _failed(request, WorkerLostError("gone"))
        assert len(trace.spans) == 1


def test_what_has_been_told_keeps_no_request(app):
    request = _request(app)
    gone = weakref.ref(request)
    with tracing():
        error = WorkerLostError("gone")
        error.request = request  # as a traceback's frames do
        _failed(request, error)
        del request, error
        gc.collect()
        assert gone() is None


@pytest.mark.parametrize("is_light", [True, False])
def test_a_dying_child_leaves_its_run_to_the_main_process(app, monkeypatch, is_light):
    """Its parent's SIGTERM raises SystemExit in the task, and some children live to export the run."""
    monkeypatch.setattr("billiard.common._should_have_exited", [True])
    with tracing() as trace:
        monkeypatch.setattr(fate.State, "installed_in", os.getpid() + 1)
        spans.pipeline().allows_light_roots = is_light
        _run(app, "add", 1, 2)
        with pytest.raises(SystemExit):
            _run(app, "leave")
        assert [span.name for span in trace.spans] == ["run/add"]


def _run(app: Any, name: str, *args: Any) -> None:
    """As a child runs it."""
    request = {"id": "1", "task": name, "is_eager": False, "delivery_info": {}}
    build_tracer(name, app.tasks[name], app=app)("1", args, {}, request)


def test_an_error_of_ours_does_not_reach_the_worker(app, monkeypatch):
    monkeypatch.setattr(isolation, "is_strict", False)
    monkeypatch.setattr(fate_child, "sentence", lambda *_: 1 / 0)
    called = []
    with tracing():
        _failed(_request(app), WorkerLostError("gone"), lambda *args, **_: called.append(args))
    assert len(called) == 1


def test_the_undo_restores_the_identical_objects():
    request, consumer = celery.worker.request.Request, celery.worker.consumer.consumer.Consumer
    private = ("_announce_revoked", "_announce_cancelled", "_retry_worker_lost", "_success_was_stored")
    places = [
        *[(request, name) for name in ("on_failure", "on_timeout", "reject", *private) if hasattr(request, name)],
        (consumer, "on_decode_error"),
        (consumer, "on_unknown_task"),
        (celery.concurrency.prefork.TaskPool, "on_start"),
        (celery.concurrency.prefork.TaskPool, "on_terminate"),
    ]
    before = [vars(owner)[name] for owner, name in places]
    receivers = list(celery.signals.task_rejected.receivers or ())
    with tracing():
        assert all(vars(owner)[name] is not found for (owner, name), found in zip(places, before, strict=True))
    assert [vars(owner)[name] for owner, name in places] == before
    assert list(celery.signals.task_rejected.receivers or ()) == receivers


def test_switched_off_it_is_silent(app):
    class Consumer(SimpleNamespace):
        __hash__ = object.__hash__

    consumer = Consumer(app=app, hostname="here")
    message = SimpleNamespace(properties={}, delivery_info={}, headers={"id": "1", **PUBLISHED})
    for is_on in (True, False):
        with tracing(celery_fate=is_on) as trace:
            celery.signals.task_rejected.send(consumer, message=message, exc=None)
            assert len(trace.spans) == is_on
