"""`clew doctor`: which queue each of the app's tasks is sent to, as the app's own router says."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from clew.cli.doctor.check import OK, PROBLEM, WARNING, Check, listed
from clew.cli.reason import reason


@dataclass
class Routes:
    """The queues of an app.

    Args:
        tasks: for each queue, the names of the tasks that go there; also queues of `task_queues` without one.
        checks: the lines about tasks whose queue cannot be told.
    """

    tasks: dict[str, list[str]] = field(default_factory=dict)
    checks: list[Check] = field(default_factory=list)


def routes(app: Any) -> Routes:
    """Route each task of the app (Celery's own left out), without sending anything."""
    declared = [name for name, queue in dict(app.amqp.queues).items() if not _is_broadcast(queue)]
    found = Routes({name: [] for name in declared})
    unknown: list[str] = []
    for name, task in sorted(app.tasks.items()):
        if name.startswith("celery."):
            continue
        queue = _queue_of(app, name, task, found.checks)
        if queue:
            found.tasks.setdefault(queue, []).append(name)
        elif queue is None:
            unknown.append(name)
    if unknown:
        text = f"the exchange decides which queue these go to, so it is not known: {listed(unknown)}"
        found.checks.append(Check("queues", OK, text))
    return found


def _queue_of(app: Any, name: str, task: Any, checks: list[Check]) -> str | None:
    """The queue's name; None where an exchange decides, empty where the router fails."""
    from celery.exceptions import QueueNotFound

    # What `apply_async` takes from the task before it asks the router.
    own = ("queue", "exchange", "routing_key")
    options = {key: value for key in own if (value := getattr(task, key, None))}
    try:
        route = app.amqp.router.route(options, name, (), {}, task)
    except QueueNotFound as error:
        fix = "add the queue to task_queues, or correct the route"
        checks.append(Check("queues", PROBLEM, f"sending {name} fails: {reason(error)}", fix))
        return ""
    except Exception as error:  # noqa: BLE001 - a router is the project's code
        checks.append(Check("queues", WARNING, f"the router of {name} cannot be asked: {reason(error)}"))
        return ""
    queue = route.get("queue")
    if not _is_direct(route, queue):
        return next((each.name for each in app.amqp.queues.values() if _is_bound(each, route)), None)
    return None if _is_broadcast(queue) else str(getattr(queue, "name", queue))


def _is_direct(route: dict[str, Any], queue: Any) -> bool:
    """Whether Celery sends straight to the queue: it does unless an exchange and a routing key are both given."""
    exchange = route.get("exchange") or getattr(queue, "exchange", None)
    kind = getattr(exchange, "type", "direct")
    return not route.get("routing_key") or (kind == "direct" and not route.get("exchange"))


def _is_bound(queue: Any, route: dict[str, Any]) -> bool:
    exchange = route.get("exchange")
    wanted = getattr(exchange, "name", exchange) or getattr(route["queue"].exchange, "name", "")
    return bool(queue.exchange and queue.exchange.name == wanted and queue.routing_key == route["routing_key"])


def _is_broadcast(queue: Any) -> bool:
    from kombu.common import Broadcast

    # Its name is a new one in each process, so there is nothing to look at.
    return isinstance(queue, Broadcast)
