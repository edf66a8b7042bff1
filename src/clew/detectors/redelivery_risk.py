"""`redelivery_risk`: a message is delivered a second time because it stays unacknowledged for too long.

On Redis, SQS and Azure Service Bus a message that a worker has but has not acknowledged within the visibility timeout
goes to another worker as well. A worker acknowledges when it starts a task, with `acks_late` when the task is over, and
it holds a task with an ETA all the while. Said before a publish, on its span, if the ETA is further away than the
timeout; at the end of a run that kept its message for longer; and of a run whose message was delivered before, for that
reason. Without an ETA the last is only information: a worker that stops gives its messages back, and they are delivered
again, too. The timeout is the one of this process' app, so one that only the other side has set is not seen. Not found:
a message that expires before it could run twice; a long `acks_late` task before it ran long (most have no time limit to
tell it from); RabbitMQ, whose `consumer_timeout` no client can ask for; queues of SQS that others have made
(`predefined_queues`), unless the timeout is in the transport's options too.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime, timezone
from time import time
from typing import Any

from clew.story import visibility
from clew.story.detector import Detector
from clew.story.findings import INFORMATION, WARNING, Finding
from clew.story.task_run import TaskRun
from clew.story.transactions import Publish
from clew.story.visibility import Wait

_TYPE = "redelivery_risk"
_MIN_TIMEOUT_S = 1.0


def _on_publish(publish: Publish) -> None:
    if publish.is_eager or publish.options.get("connection") is not None:
        return
    delay_s = _delay_s(publish.options)
    if delay_s <= 0:
        return
    system = visibility.system_of(publish.app)
    timeout_s = visibility.timeout_s(publish.app, system)
    if not timeout_s or delay_s <= timeout_s:
        return
    if 0 < _expires_s(publish.options.get("expires")) <= delay_s:
        return  # it is over before it is due: nobody runs it, however often it is delivered
    wait = visibility.WAITS[system]
    key = (_TYPE, publish.task_name, str(publish.site))
    known = publish.local.finding(key)
    if known is not None:
        known.evidence["count"] += 1
        return
    finding = Finding(
        _TYPE,
        f"{publish.task_name} is due in {_said(delay_s)}, but {wait.name} delivers what is unacknowledged again "
        f"after {_said(timeout_s)} ({wait.option}): it will run more than once",
        f"keep long delays out of the broker (store when it is due, and let a periodic task send what is), or set "
        f"{_setting(wait)} above the longest of them in every worker and sender",
        publish.site,
        {"task": publish.task_name, "delay_s": round(delay_s), "visibility_timeout_s": round(timeout_s), "count": 1},
    )
    publish.local.report(finding, key, publish.span.span if publish.span is not None else None)


def _delay_s(options: Mapping[str, Any]) -> float:
    """Seconds until a message's ETA, as Celery reads its options: a countdown goes first, a naive ETA is UTC."""
    countdown: Any = options.get("countdown")
    eta: Any = options.get("eta")
    if type(countdown) in (int, float) and countdown:
        return float(countdown)
    return _until_s(eta)


def _expires_s(expires: Any) -> float:
    """Seconds until a message is out of date; 0 if it never is."""
    return float(expires) if type(expires) in (int, float) else _until_s(expires)


def _until_s(when: Any) -> float:
    if type(when) is str:
        try:
            when = datetime.fromisoformat(when.replace("Z", "+00:00"))
        except ValueError:
            return 0.0
    if not issubclass(type(when), datetime):
        return 0.0
    if when.tzinfo is None:
        when = when.replace(tzinfo=timezone.utc)
    return float(when.timestamp()) - time()


def _setting(wait: Wait) -> str:
    return f'broker_transport_options = {{"{wait.option}": seconds}}'


def _on_task_end(run: TaskRun) -> None:
    if run.system not in visibility.WAITS or run.is_eager:
        return
    is_late, is_again = bool(run.task.acks_late), run.is_redelivered
    held_s = _held_s(run, is_late=is_late)
    # Almost every run ends here; asking the app costs more than the rest.
    if held_s < _MIN_TIMEOUT_S and not is_again:
        return
    timeout_s = visibility.timeout_s(run.task.app, run.system)
    waited_s = _waited_s(run, is_late=is_late) if is_again else 0.0
    if 0 < timeout_s < waited_s:
        _report_again(run, timeout_s, waited_s)
    elif 0 < timeout_s < held_s and not _is_over_by(run, timeout_s):
        _report_held(run, timeout_s, held_s, is_late=is_late)


def _waited_s(run: TaskRun, *, is_late: bool) -> float:
    """For how long the delivery before may have kept the message: until its ETA, or while it ran."""
    if not run.published_ns:
        return 0.0
    if run.eta_ns:
        return (run.eta_ns - run.published_ns) / 1e9
    return (run.started_ns - run.published_ns) / 1e9 if is_late else 0.0


def _held_s(run: TaskRun, *, is_late: bool) -> float:
    received_ns = run.received_ns or run.started_ns
    return ((run.ended_ns if is_late else run.started_ns) - received_ns) / 1e9


def _is_over_by(run: TaskRun, timeout_s: float) -> bool:
    """Whether the message had expired when it was delivered again, so that nobody runs it twice."""
    left_s = _until_s(run.request.expires)
    received_s = (run.received_ns or run.started_ns) / 1e9
    return left_s != 0 and time() + left_s <= received_s + timeout_s


def _report_again(run: TaskRun, timeout_s: float, waited_s: float) -> None:
    why = "its ETA was" if run.eta_ns else "it was started"
    wait = visibility.WAITS[run.system]
    ends = "" if run.eta_ns else ", if it was not given back by a worker that stopped"
    _report(
        run,
        f"{run.task_name} was delivered again: {why} {_said(waited_s)} after it was sent, and {wait.name} "
        f"delivers what is unacknowledged again after {_said(timeout_s)} ({wait.option}); it may have run before, "
        f"or run elsewhere{ends}",
        {"waited_s": round(waited_s, 3), "visibility_timeout_s": round(timeout_s, 3), "redelivered": True},
        WARNING if run.eta_ns else INFORMATION,
    )


def _report_held(run: TaskRun, timeout_s: float, held_s: float, *, is_late: bool) -> None:
    wait = visibility.WAITS[run.system]
    until = "until it was over (acks_late)" if is_late else "before it was started"
    _report(
        run,
        f"{run.task_name} kept its message unacknowledged for {_said(held_s)} {until}, longer than "
        f"{wait.name} waits ({_said(timeout_s)}, {wait.option}): it has been, or will be, run again",
        {"held_s": round(held_s, 3), "visibility_timeout_s": round(timeout_s, 3), "acks_late": is_late},
    )


def _report(run: TaskRun, message: str, evidence: dict[str, Any], severity: str = WARNING) -> None:
    longest = "longest ETA" if run.eta_ns else "longest run" if evidence.get("acks_late", True) else "longest wait"
    setting = _setting(visibility.WAITS[run.system])
    fix = f"set {setting} above the {longest} in every worker, and make the task safe to run twice"
    if longest == "longest wait":
        fix += "; worker_prefetch_multiplier = 1 leaves in the broker what no process is free for"
    finding = Finding(_TYPE, message, fix, None, {"task": run.task_name, **evidence}, severity)
    run.local.report(finding, (_TYPE, "run"), run.local.root.span)


def _said(seconds: float) -> str:
    for length, unit in ((86400, "days"), (3600, "h"), (60, "min")):
        if seconds >= 2 * length or seconds == length:
            return f"{round(seconds / length, 1):g} {unit}"
    return f"{round(seconds, 1):g} s"


DETECTOR = Detector(
    _TYPE,
    doc="A message stays unacknowledged longer than the broker's visibility timeout (Redis, SQS, Azure Service Bus), "
    "so it is delivered, and run, a second time.",
    fix='Keep long delays out of the broker; `broker_transport_options = {"visibility_timeout": ...}` above the '
    "longest ETA and the longest `acks_late` run.",
    not_found="RabbitMQ; a message that expires before it could run twice; an `acks_late` task before it ran long; "
    "`predefined_queues` of SQS whose timeout is not in the transport's options; a timeout that only the other side "
    "has set.",
    on_publish=_on_publish,
    on_task_end=_on_task_end,
)
