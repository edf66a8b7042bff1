"""`clew doctor`: where the app's tasks go, and whether anybody takes them from there."""

from __future__ import annotations

from collections.abc import Mapping

from clew.cli.doctor.broker import AMQP, MEMORY, REDIS, Broker, QueueState, look, unreachable
from clew.cli.doctor.check import OK, PROBLEM, WARNING, Check, listed, within
from clew.cli.doctor.conf import check as check_conf
from clew.cli.doctor.project import Project
from clew.cli.doctor.routes import Routes, routes
from clew.cli.doctor.workers import Worker, ask, outdated
from clew.cli.reason import reason

# Each costs a round trip, on RabbitMQ also a channel.
_SHOWN_QUEUES = 50
_SHOWN_WORKERS = 20


def check(project: Project, timeout: float) -> list[Check]:
    """The lines about the broker, the queues, the workers and Celery's settings."""
    app = project.app
    found = routes(app)
    names = sorted(found.tasks)
    try:
        broker = within(timeout, lambda: look(app, names[:_SHOWN_QUEUES], timeout))
    except Exception as error:  # noqa: BLE001 - each transport has exceptions of its own
        return [unreachable(app, error), *found.checks, *check_conf(app)]
    if broker.kind == MEMORY:
        text = "memory:// works within one process: no worker gets the tasks"
        return [Check("broker", WARNING, text, "set broker_url"), *found.checks, *check_conf(app)]
    checks = [_broker(broker), *found.checks]
    workers: dict[str, Worker] = {}
    try:
        # Asking makes a queue for the replies; where nobody can reply there is no need for it.
        if broker.kind != AMQP or any(state.consumers for state in broker.queues.values()):
            workers = within(timeout, lambda: ask(app, timeout))
        checks += _answered(project, broker, workers)
    except Exception as error:  # noqa: BLE001 - each transport has exceptions of its own
        checks.append(Check("workers", WARNING, f"they cannot be asked: {reason(error)}", "--timeout waits longer"))
    checks += judged(project, broker, found, workers) + outdated(workers, found.tasks)
    return checks + check_conf(app)


def _broker(broker: Broker) -> Check:
    held = broker.unacknowledged
    note = f"; workers hold {held} message{'s' * (held != 1)} (running, prefetched, or with an ETA)" if held else ""
    return Check("broker", OK, f"{broker.uri} answers ({broker.kind}){note}")


def _answered(project: Project, broker: Broker, workers: Mapping[str, Worker]) -> list[Check]:
    """A line for each worker; one that says that none reads these queues: a problem, where that is certain."""
    shown = sorted(workers)[:_SHOWN_WORKERS]
    checks = [Check("workers", OK, f"{name} reads {listed(workers[name].queues) or 'no queue'}") for name in shown]
    if more := len(workers) - len(shown):
        checks.append(Check("workers", OK, f"{more} more answer"))
    if any(readers_of(name, state, workers) for name, state in broker.queues.items()):
        if not workers:
            text = "none answers, though queues are read, so its tasks are not known"
            fix = "worker_enable_remote_control is off there, or it is too busy to answer"
            checks.append(Check("workers", WARNING, text, fix))
        return checks
    level, text = WARNING, "none answers"
    if broker.kind == AMQP or workers:
        level, text = PROBLEM, "none reads these queues"
    elif not project.app.conf.worker_enable_remote_control:
        text = "none answers, as worker_enable_remote_control=False has it"
    elif broker.kind == REDIS:
        level = PROBLEM
    return [*checks, Check("workers", level, text, f"is one running? `celery -A {project.app_name} worker`")]


def judged(project: Project, broker: Broker, found: Routes, workers: Mapping[str, Worker]) -> list[Check]:
    """A line for each queue that tasks go to or messages wait in.

    Args:
        project: for its app's name.
        broker: what the broker says of the queues.
        found: which tasks go where.
        workers: those that answered.
    """
    checks: list[Check] = []
    for name, state in broker.queues.items():
        readers = readers_of(name, state, workers, is_silence_meaningful=broker.kind == REDIS)
        if found.tasks[name] or state.messages or readers:
            checks.append(_queue(project, name, state, readers, found.tasks[name]))
    if broker.kind not in (AMQP, REDIS):
        checks.append(Check("queues", OK, f"how many messages wait is not known for {broker.kind}"))
    more = len(found.tasks) - len(broker.queues)
    if more > 0:
        checks.append(Check("queues", OK, f"{more} more queues were not looked at"))
    return checks


def readers_of(
    name: str, state: QueueState, workers: Mapping[str, Worker], *, is_silence_meaningful: bool = True
) -> int | None:
    """How many read a queue: the broker's number, else the workers that say so; None where nobody can say."""
    if state.consumers is not None:
        return state.consumers
    # A worker may have clew and not answer, or answer and not have clew.
    found = max(sum(name in worker.queues for worker in workers.values()), state.registered or 0)
    return found if found or workers or is_silence_meaningful else None


def _queue(project: Project, name: str, state: QueueState, readers: int | None, tasks: list[str]) -> Check:
    sent = f" ({listed(tasks)})" if tasks else ""
    start = f"start `celery -A {project.app_name} worker -Q {name}`"
    # Redis does not know its readers, and a worker may be too busy to answer.
    nobody = "nobody" if state.consumers is not None else "no worker that answers"
    wait = _waiting(state.messages)
    if readers == 0 and state.messages:
        return Check("queues", PROBLEM, f"{nobody} reads queue {name!r}: {wait}{sent}", start)
    if readers == 0:
        missing = "" if state.exists else ", which does not exist yet"
        return Check("queues", WARNING, f"{nobody} reads queue {name!r}{missing}: tasks go there{sent}", start)
    read = "" if readers is None else f", {readers} reader{'s' * (readers != 1)}"
    return Check("queues", OK, f"queue {name!r}: {wait}{read}{sent}")


def _waiting(messages: int | None) -> str:
    if messages is None:
        return "messages not known"
    return f"{messages or 'no'} message{'s' * (messages != 1)} wait{'s' * (messages == 1)}"
