"""`clew doctor`: Celery's settings under which a task runs twice, or not where one looks for it."""

from __future__ import annotations

from typing import Any

from clew.cli.doctor.check import WARNING, Check, listed
from clew.story import visibility


def check(app: Any) -> list[Check]:
    """The lines about Celery's settings."""
    checks: list[Check] = []
    if app.conf.task_always_eager:
        text = "task_always_eager: tasks run where they are called, none reaches a worker"
        checks.append(Check("celery", WARNING, text, "set it in tests only"))
    system = visibility.system_of(app)
    timeout_s = visibility.timeout_s(app, system)
    return checks + _twice(app, timeout_s, visibility.WAITS[system].option) if timeout_s else checks


def _twice(app: Any, visible: float, option: str) -> list[Check]:
    """Tasks whose message may still be unacknowledged when the broker gives it to somebody else."""
    tasks = {name: task for name, task in app.tasks.items() if not name.startswith("celery.")}
    limit = app.conf.task_time_limit
    late = [
        name for name, task in tasks.items() if task.acks_late and not 0 < (task.time_limit or limit or 0) <= visible
    ]
    waiting = [name for name, task in tasks.items() if (task.default_retry_delay or 0) > visible]
    # An ETA or a countdown is known only where a task is sent; a retry's default is known here.
    checks: list[Check] = []
    if late:
        text = f"acks_late tasks that run longer than {option} ({visible:g} s) run twice: {listed(late)}"
        fix = f"a task_time_limit below {visible:g}, or a longer {option}"
        checks.append(Check("celery", WARNING, text, fix))
    if waiting:
        text = f"they wait longer for a retry than {option} ({visible:g} s) and run twice: {listed(waiting)}"
        fix = f"broker_transport_options = {{'{option}': ...}}, longer than any countdown or ETA"
        checks.append(Check("celery", WARNING, text, fix))
    return checks
