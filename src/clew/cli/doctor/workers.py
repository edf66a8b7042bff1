"""`clew doctor`: the workers that answer - which queues they read, which tasks they know."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from clew.cli.doctor.broker import connected
from clew.cli.doctor.check import WARNING, Check, listed

# Long enough for a worker on a busy machine; it is waited for in full, since nobody knows how many will answer.
_LONGEST_WAIT = 2.0


@dataclass(frozen=True)
class Worker:
    """What a worker said.

    Args:
        queues: those it reads.
        tasks: those it knows.
    """

    queues: frozenset[str]
    tasks: frozenset[str]


def ask(app: Any, timeout: float) -> dict[str, Worker]:
    """Ask every worker, as `celery inspect` does: the question is a control message, never a task."""
    wait = min(timeout / 4, _LONGEST_WAIT)
    try:
        with connected(app, timeout) as connection:
            inspect = app.control.inspect(timeout=wait, connection=connection)
            reading = inspect.active_queues() or {}
            known = (inspect.registered() or {}) if reading else {}
    finally:
        app.pool.force_close_all()  # the questions went out over a connection of the app's own
    return {name: _worker(queues, known.get(name)) for name, queues in reading.items()}


def _worker(queues: Any, tasks: Any) -> Worker:
    # A worker that fails to answer says {"error": ...}.
    names = [queue["name"] for queue in queues] if isinstance(queues, list) else []
    # `send_mail [rate_limit=10/s]` is the task send_mail.
    known = [task.partition(" [")[0] for task in tasks] if isinstance(tasks, list) else []
    return Worker(frozenset(names), frozenset(known))


def outdated(workers: Mapping[str, Worker], tasks: Mapping[str, list[str]]) -> list[Check]:
    """A line for each worker that reads a queue and lacks tasks that are sent there.

    Args:
        workers: by name.
        tasks: for each queue, the tasks that are sent there.
    """
    checks: list[Check] = []
    for name, worker in sorted(workers.items()):
        sent = {task for queue in worker.queues for task in tasks.get(queue, ())}
        lost = sent - worker.tasks if worker.tasks else set()
        if lost:
            text = f"{name} discards what it does not know: {listed(lost)}"
            checks.append(Check("workers", WARNING, text, "restart it with this code, or import their modules there"))
    return checks
