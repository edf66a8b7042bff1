"""`no_consumer`: a task was sent to a queue nobody reads, so it will not run.

Misspelt queues, routes without a worker, a worker that was not started. The seam `celery.consumers` finds out from the
broker (RabbitMQ) or from the registry that workers keep (Redis), never in the path of a publish; what it learns after
the publish is said on the root, or in a span of its own. A queue that was read a moment ago is a deploy, more likely
than not: that is information. So is a queue of Redis while workers run that are not in the registry, as clew is rolled
out: one that is busy may read it. Those without remote control are not seen, and then it is a warning.
"""

from __future__ import annotations

from typing import Any

from clew.engine import isolation
from clew.story import findings
from clew.story.detector import Detector
from clew.story.findings import INFORMATION, WARNING, Finding
from clew.story.unread_queue import UnreadQueue

_TYPE = "no_consumer"
_DEPLOY_SECONDS = 60


def _on_queue(queue: UnreadQueue) -> None:
    known = queue.local.findings.get((_TYPE, queue.name)) if queue.local.findings is not None else None
    if known is not None:
        known.evidence["count"] += 1
        known.evidence["messages"] = max(known.evidence["messages"], queue.messages)
        return
    findings.report(queue.local, _finding(queue), (_TYPE, queue.name), queue.span)
    if not queue.strangers:
        isolation.warn(
            f"clew: nobody reads queue {queue.name!r}: the tasks sent there do not run (logged once per queue)"
        )


def _finding(queue: UnreadQueue) -> Finding:
    name, ago = queue.name, queue.read_seconds_ago
    is_deploy = ago is not None and ago < _DEPLOY_SECONDS
    run = f"start a worker that reads it: `celery -A <app> worker -Q {name}`, or route the task to a queue that is read"
    message = f"nobody reads queue {name!r}{_state(queue)}: {queue.task_name} will not run"
    if is_deploy:
        message += f" until somebody does; it was read {ago:.0f} s ago"
    evidence: dict[str, Any] = {"queue": name, "task": queue.task_name, "messages": queue.messages, "count": 1}
    if queue.strangers:
        message = (
            f"no worker with clew reads queue {name!r}{_state(queue)}: {queue.task_name} will not run, unless a worker "
            f"without clew reads it (as it seems there are some: {', '.join(queue.strangers)})"
        )
        evidence["workers_without_clew"] = queue.strangers
    severity = INFORMATION if is_deploy or queue.strangers else WARNING
    return Finding(_TYPE, message, run, queue.site, evidence, severity)


def _state(queue: UnreadQueue) -> str:
    if not queue.does_exist:
        return ", which does not exist"
    if queue.messages <= 0:
        return ""
    return f" ({queue.messages} message{'s' * (queue.messages != 1)} wait{'s' * (queue.messages == 1)})"


DETECTOR = Detector(
    _TYPE,
    doc="A task was sent to a queue that no worker reads (RabbitMQ: the broker says so; Redis: workers with clew say "
    "which queues they read).",
    fix="Start a worker with `-Q` and the queue's name, or correct `task_routes`.",
    not_found="Other brokers, exchanges that are not direct, Redis whose workers run without clew, the minute after a "
    "worker was killed. A queue that was read within the last minute (a deploy) is only information; so is one of "
    "Redis while some workers run without clew (busy ones without remote control are not seen, and are a false "
    "positive).",
    on_queue=_on_queue,
)
