"""`no_consumer`: a task was sent to a queue nobody reads, so it will not run.

Misspelt queues, routes without a worker, a worker that was not started. The seam `celery.consumers` finds out from the
broker (RabbitMQ) or from the registry that workers keep (Redis), never in the path of a publish; what it learns after
the publish is said on the root, or in a span of its own. A queue that was read a moment ago is a deploy, more likely
than not: that is information. So is a queue of Redis while workers run that are not in the registry, as clew is rolled
out: one that is busy may read it. Those without remote control are not seen, and then it is a warning.
"""

from __future__ import annotations

import shlex
from typing import Any

from clew.engine import isolation
from clew.story.detector import Detector
from clew.story.findings import INFORMATION, WARNING, Finding
from clew.story.unread_queue import UnreadQueue

_TYPE = "no_consumer"
_DEPLOY_SECONDS = 60
_MAX_TASKS = 5


def _on_queue(queue: UnreadQueue) -> None:
    known = queue.local.finding((_TYPE, queue.name))
    if known is not None:
        evidence = known.evidence
        evidence["count"] += 1
        evidence["messages"] = max(evidence["messages"], queue.messages)
        if queue.task_name not in evidence["task_names"] and len(evidence["task_names"]) < _MAX_TASKS:
            evidence["task_names"] = (*evidence["task_names"], queue.task_name)
        known.message = _message(queue, evidence["task_names"], evidence["messages"])
        return
    queue.local.report(_finding(queue), (_TYPE, queue.name), queue.span)
    if not queue.strangers:
        isolation.warn(
            f"clew: nobody reads queue {queue.name!r}: the tasks sent there do not run (logged once per queue)"
        )


def _finding(queue: UnreadQueue) -> Finding:
    name, tasks = queue.name, (queue.task_name,)
    run = (
        f"start a worker that reads it: `celery -A <app> worker -Q {shlex.quote(name)}`, or route the task to a queue "
        "that is read"
    )
    evidence: dict[str, Any] = {"queue": name, "task_names": tasks, "messages": queue.messages, "count": 1}
    if queue.strangers:
        evidence["workers_without_clew"] = queue.strangers
    severity = INFORMATION if _is_deploy(queue) or queue.strangers else WARNING
    return Finding(_TYPE, _message(queue, tasks, queue.messages), run, queue.site, evidence, severity)


def _is_deploy(queue: UnreadQueue) -> bool:
    return queue.read_seconds_ago is not None and queue.read_seconds_ago < _DEPLOY_SECONDS


def _message(queue: UnreadQueue, tasks: tuple[str, ...], messages: int) -> str:
    about, who = f"queue {queue.name!r}{_state(queue, messages)}", " and ".join(tasks)
    if queue.strangers:
        return (
            f"no worker with clew reads {about}: {who} will not run, unless a worker without clew reads it (as it "
            f"seems there are some: {', '.join(queue.strangers)})"
        )
    until = f" until somebody does; it was read {queue.read_seconds_ago:.0f} s ago" if _is_deploy(queue) else ""
    return f"nobody reads {about}: {who} will not run{until}"


def _state(queue: UnreadQueue, messages: int) -> str:
    if not queue.does_exist:
        return ", which does not exist"
    if messages <= 0:
        return ""
    return f" ({messages} message{'s' * (messages != 1)} wait{'s' * (messages == 1)})"


DETECTOR = Detector(
    _TYPE,
    doc="A task was sent to a queue that no worker reads (RabbitMQ: the broker says so; Redis: workers with clew say "
    "which queues they read).",
    fix="Start a worker with `-Q` and the queue's name, or correct `task_routes`.",
    not_found="Other brokers, exchanges that are not direct, Redis whose workers run without clew, the minute after a "
    "worker was killed, a queue that is read a second later. A queue that was read within the last minute (a deploy) "
    "is only information; so is one of Redis while some workers run without clew (busy ones without remote control are "
    "not seen, and are a false positive).",
    on_queue=_on_queue,
)
