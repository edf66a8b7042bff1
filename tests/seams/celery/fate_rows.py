"""The rows of the table of all fates: how each is brought about, and the trace it must leave.

A trace is written as indented lines, PRODUCER spans by their name, others with their outcome, status and links.
"""

from __future__ import annotations

import functools
import time
import uuid
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

import celery
from celery import chord
from kombu import Producer
from opentelemetry import propagate

from tests.celery_site.worker import DEADLINE, Worker

IS_5_7 = celery.VERSION >= (5, 7)
Attributes = dict[str, dict[str, Any]]


class Place(NamedTuple):
    """Where rows are sent from and to: an app of this process, a worker, a folder of their own."""

    app: Any
    worker: Worker
    node: str
    folder: Path


class Row(NamedTuple):
    """One fate.

    Args:
        name: what it is.
        send: brings it about, below the current span.
        trace: what must be seen below that span.
        attributes: some that must be there, for each span's name.
        phase: 0 beside the others, 1 alone after them, 2 as the worker stops.
        broker: the only one that has it; "" all.
        is_there: whether what it needs is there.
    """

    name: str
    send: Callable[[Place], Any]
    trace: str
    attributes: Attributes = {}
    phase: int = 0
    broker: str = ""
    is_there: bool = True


def _task(name: str, *args: Any, **options: Any) -> Callable[[Place], Any]:
    return lambda here: here.app.tasks[name].apply_async(args, **options)


def _with_errback(name: str) -> Callable[[Place], Any]:
    return lambda here: here.app.tasks[name].apply_async(link_error=here.app.tasks["errback"].s())


def _in_folder(name: str) -> Callable[[Place], Any]:
    def send(here: Place) -> None:
        folder = here.folder / uuid.uuid4().hex
        folder.mkdir()
        here.app.tasks[name].delay(str(folder if name == "long" else folder / "once"))

    return send


def _started(here: Place, name: str = "hang") -> str:
    """Send it, wait until it runs; its id."""
    file = here.folder / uuid.uuid4().hex
    task_id = here.app.tasks[name].delay(str(file)).id
    until = time.monotonic() + DEADLINE
    while not file.exists():
        assert time.monotonic() < until, here.worker.log.read_text()
        time.sleep(0.02)
    return str(task_id)


def _revoke(here: Place, task_id: str, **options: Any) -> None:
    reply = here.app.control.revoke(task_id, destination=[here.node], reply=True, timeout=DEADLINE, limit=1, **options)
    assert reply, here.worker.log.read_text()


def _terminate(here: Place, name: str) -> None:
    _revoke(here, _started(here), terminate=True, signal=name)


def _revoke_before(here: Place) -> None:
    task_id = uuid.uuid4().hex
    _revoke(here, task_id)
    here.app.tasks["add"].apply_async((1, 2), task_id=task_id)


def _revoke_waiting(here: Place) -> None:
    task_id = uuid.uuid4().hex
    here.app.tasks["add"].apply_async((1, 2), task_id=task_id, countdown=15)
    here.worker.wait_for_log(f"[{task_id}] received")
    _revoke(here, task_id)


def _revoke_stamped(here: Place) -> None:
    batch = uuid.uuid4().hex
    here.app.control.revoke_by_stamped_headers(
        {"batch": batch}, destination=[here.node], reply=True, timeout=DEADLINE, limit=1
    )
    here.app.tasks["add"].apply_async((1, 2), stamped_headers=["batch"], batch=batch)


def _revoke_member(here: Place) -> None:
    """A chord's only task: its body is not sent, the body's error callback is."""
    task_id, tasks = uuid.uuid4().hex, here.app.tasks
    _revoke(here, task_id)
    body = tasks["total"].s().on_error(tasks["errback"].s())
    chord([tasks["add"].s(1, 2).set(task_id=task_id)], body, app=here.app).delay()


def _by_hand(here: Place, body: bytes, **headers: Any) -> None:
    queue, headers = here.app.conf.task_default_queue, {"id": uuid.uuid4().hex, **headers}
    propagate.inject(headers)
    with here.app.connection_for_write() as connection, Producer(connection) as producer:
        producer.publish(body, queue, content_type="application/json", content_encoding="utf-8", headers=headers)


def _to_nobody(here: Place) -> None:
    here.app.tasks["add"].apply_async((1, 2), queue=f"{here.app.conf.task_default_queue}-nobody", expires=60)


def _fate(name: str, told: str, *below: str) -> str:
    return "\n".join([f"apply_async/{name}", f"  {told} -> publish", *(f"    {line}" for line in below)])


_KNOWS_CONSUMERS = find_spec("clew.detectors.no_consumer") is not None
_UNREAD = {"queue {queue}-nobody": {"celery.has_consumers": False, "clew.findings": ("no_consumer",)}}
_ERRBACK = ("apply_async/errback", "  run/errback: succeeded -> publish")
_AGAIN = "-> first_publish, previous_attempt, publish"
_LOST, _TIMED_OUT = "celery.fate.reason", "hard time limit of 1 s exceeded"

ROWS = (
    Row("succeeded", _task("add", 1, 2), _fate("add", "run/add: succeeded")),
    Row("failed", _task("fail"), _fate("fail", "run/fail: failed, ERROR"), {"run/fail": {"error.type": "ValueError"}}),
    Row("failed, link_error", _with_errback("fail"), _fate("fail", "run/fail: failed, ERROR", *_ERRBACK)),
    Row("failed as expected (throws)", _task("expected"), _fate("expected", "run/expected: expected_failure")),
    Row("left (sys.exit)", _task("leave"), _fate("leave", "run/leave: failed, ERROR")),
    Row("ignored", _task("ignore"), _fate("ignore", "run/ignore: ignored")),
    Row(
        "rejected (Reject)",
        _task("reject"),
        _fate("reject", "run/reject: rejected"),
        {"run/reject": {"celery.requeue": False}},
    ),
    Row(
        "rejected (Reject), link_error",
        _with_errback("reject"),
        # Before 5.7 a rejected task calls no error callback; since then the main process does.
        _fate("reject", "run/reject: rejected", *(_ERRBACK if IS_5_7 else ())),
    ),
    Row(
        "rejected and requeued (Reject)",
        _task("reject once"),
        _fate("reject once", "run/reject once: rejected") + "\n  run/reject once: succeeded -> publish",
        {"run/reject once": {"celery.redelivered": True}},
    ),
    Row(
        "retried",
        _task("again", 1),
        _fate("again", "run/again: retried", "apply_async/again") + f"\n  run/again: succeeded {_AGAIN}",
        {"run/again": {"celery.retries": 1, "celery.max_retries": 2}},
    ),
    Row(
        "retried by itself (autoretry_for, retry_backoff)",
        _task("auto"),
        _fate("auto", "run/auto: retried", "apply_async/auto") + f"\n  run/auto: succeeded {_AGAIN}",
        {"run/auto": {"celery.retries": 1}},
    ),
    Row(
        "retried in vain (max_retries)",
        _task("again", 9),
        _fate("again", "run/again: retried", "apply_async/again")
        + f"\n  run/again: retried {_AGAIN}\n    apply_async/again\n  run/again: failed, ERROR {_AGAIN}",
        {"run/again": {"celery.retries": 2, "celery.retries_exhausted": True}},
    ),
    Row("soft time limit", _task("soft"), _fate("soft", "run/soft: soft_timed_out, ERROR")),
    Row(
        "hard time limit",
        _task("hard"),
        _fate("hard", "lost/hard: timed_out, ERROR"),
        {"lost/hard": {_LOST: _TIMED_OUT, "error.type": "billiard.exceptions.TimeLimitExceeded"}},
    ),
    Row(
        "hard time limit, link_error",
        _with_errback("hard"),
        # Celery calls them twice: in on_failure, then in on_timeout.
        _fate("hard", "lost/hard: timed_out, ERROR", *_ERRBACK, *_ERRBACK),
    ),
    Row(
        "killed (SIGKILL, as the OOM killer does)",
        _task("killed"),
        _fate("killed", "lost/killed: lost, ERROR"),
        {"lost/killed": {"celery.child.signal": "SIGKILL", "celery.state": "FAILURE"}},
    ),
    Row("killed, link_error", _with_errback("killed"), _fate("killed", "lost/killed: lost, ERROR", *_ERRBACK)),
    Row(
        "killed, what it had exported",
        _task("kept"),
        _fate("kept", "lost/kept: lost, ERROR", "user work"),
    ),
    Row(
        "gone (os._exit)",
        _task("gone"),
        _fate("gone", "lost/gone: lost, ERROR"),
        {"lost/gone": {"celery.child.exit_code": 7}},
    ),
    Row(
        "killed and requeued (reject_on_worker_lost)",
        _in_folder("killed once"),
        _fate("killed once", "lost/killed once: lost, ERROR") + "\n  run/killed once: succeeded -> publish",
        {"lost/killed once": {"celery.fate.next": "requeued"}, "run/killed once": {"celery.redelivered": True}},
    ),
    Row(
        "killed and retried (retry_on_worker_lost)",
        _task("killed and retried"),
        _fate("killed and retried", "lost/killed and retried: lost, ERROR", "apply_async/killed and retried")
        + f"\n  run/killed and retried: succeeded {_AGAIN}",
        {"lost/killed and retried": {"celery.fate.next": "retried", "celery.state": "RETRY"}},
        is_there=IS_5_7,
    ),
    Row(
        "killed when its run was over",
        _task("killed after"),
        _fate("killed after", "lost/killed after: " + ("succeeded" if IS_5_7 else "lost, ERROR")),
        {"lost/killed after": {"celery.run.outcome": "succeeded"}},
    ),
    Row("revoked before it came", _revoke_before, _fate("add", "revoked/add: revoked")),
    Row(
        "revoked while it waited for its ETA",
        _revoke_waiting,
        _fate("add", "revoked/add: revoked"),
        {"revoked/add": {_LOST: "revoked while it waited in the worker"}},
    ),
    Row(
        "revoked by a stamped header",
        _revoke_stamped,
        _fate("add", "revoked/add: revoked"),
        {"revoked/add": {_LOST: "revoked by a stamped header while it waited in the worker"}},
    ),
    Row(
        "revoked in a chord, link_error of the body",
        _revoke_member,
        _fate("add", "revoked/add: revoked", *_ERRBACK),
    ),
    Row(
        "revoked while it ran (terminate, SIGTERM)",
        functools.partial(_terminate, name="SIGTERM"),
        _fate("hang", "revoked/hang: terminated"),
        {"revoked/hang": {"celery.child.signal": "SIGTERM"}},
    ),
    Row(
        "revoked while it ran (terminate, SIGKILL)",
        functools.partial(_terminate, name="SIGKILL"),
        _fate("hang", "revoked/hang: terminated"),
        {"revoked/hang": {"celery.child.signal": "SIGKILL"}},
    ),
    Row("expired", _task("add", 1, 2, countdown=2, expires=1), _fate("add", "expired/add: expired")),
    Row(
        "unknown",
        lambda here: here.app.send_task("nobody.knows"),
        _fate("nobody.knows", "unknown/nobody.knows: unknown, ERROR"),
        {"unknown/nobody.knows": {"error.type": "celery.exceptions.NotRegistered"}},
    ),
    Row(
        "invalid",
        _task("add", 1, 2, headers={"eta": "whenever"}),
        _fate("add", "rejected/add: rejected, ERROR"),
        {"rejected/add": {"error.type": "celery.exceptions.InvalidTaskError"}},
    ),
    Row("no task at all", functools.partial(_by_hand, body=b"{}"), "rejected/message: rejected, ERROR -> publish"),
    Row(
        "undecodable (content that is not accepted)",
        _task("add", 1, 2, serializer="pickle"),
        _fate("add", "rejected/add: undecodable, ERROR"),
        {"rejected/add": {"error.type": "kombu.exceptions.ContentDisallowed"}},
    ),
    Row(
        "undecodable (garbled)",
        functools.partial(_by_hand, body=b"{", task="add"),
        "rejected/add: undecodable, ERROR -> publish",
        {"rejected/add": {"error.type": "kombu.exceptions.DecodeError"}},
    ),
    Row(
        "delivered again (visibility timeout)",
        _in_folder("long"),
        _fate("long", "run/long: succeeded") + "\n  run/long: succeeded -> publish",
        {"run/long": {"celery.redelivered": True, "celery.run_number": 2}},
        phase=1,
        broker="redis",
    ),
    Row(
        "delivered again (connection cut)",
        _in_folder("long"),
        _fate("long", "run/long: succeeded") + "\n  run/long: succeeded -> publish",
        {"run/long": {"celery.redelivered": True, "celery.run_number": 2}},
        phase=1,
        broker="rabbitmq",
    ),
    Row(
        "a coroutine nobody awaits",
        _task("coroutine"),
        _fate("coroutine", "run/coroutine: succeeded"),
        {"run/coroutine": {"clew.findings": ("silent_failure",)}},
        is_there=find_spec("clew.detectors.silent_failure") is not None,
    ),
    Row(
        "sent to a queue nobody reads",
        _to_nobody,
        # Its answer comes with the declaration, but that nobody reads it is a finding only when it is still so later.
        "apply_async/add\n  queue {queue}-nobody",
        {"apply_async/add": {"celery.has_consumers": False}, **_UNREAD},
        broker="rabbitmq",
        is_there=_KNOWS_CONSUMERS,
    ),
    Row(
        "sent to a queue nobody reads",
        _to_nobody,
        # Redis is asked by a thread, so the answer may come later, on a span of its own.
        "apply_async/add\n  queue {queue}-nobody",
        _UNREAD,
        broker="redis",
        is_there=_KNOWS_CONSUMERS,
    ),
    Row(
        "cold shutdown",
        _started,
        _fate("hang", "lost/hang: lost, ERROR"),
        phase=2,
    ),
    Row(
        "cold shutdown, to be delivered again (acks_late)",
        functools.partial(_started, name="hang late"),
        # Before 5.5 Celery takes the child for lost, and acknowledges the message.
        _fate("hang late", "lost/hang late: " + ("cancelled" if celery.VERSION >= (5, 5) else "lost, ERROR")),
        phase=2,
    ),
)
