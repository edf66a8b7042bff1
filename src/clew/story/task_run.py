"""One run of a task, as those see it who decide whether something is wrong with it.

A pure holder: `seams/celery/run/__init__.py` fills it in, detectors read it in their hook `on_task_end`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clew.story.local_trace import LocalTrace


class TaskRun:
    """One run of a task that is ending; its span is still open.

    Args:
        local: its state in this process; `local.root` is the CONSUMER span.
        task: Celery's task, `task.app` its app.
        request: Celery's request (`Context`) of the run.
    """

    __slots__ = (
        "ended_ns",
        "error",
        "eta_ns",
        "local",
        "outcome",
        "published_ns",
        "received_ns",
        "request",
        "result",
        "started_ns",
        "system",
        "task",
    )

    def __init__(self, local: LocalTrace, task: Any, request: Any) -> None:
        self.local = local
        self.task = task
        self.request = request
        # A value of `celery.outcome`, and the exception that led to it.
        self.outcome = ""
        self.error: BaseException | None = None
        # What the task returned: the application's own object, nothing of it may be called or evaluated.
        self.result: Any = None
        # Nanoseconds since the epoch, 0 where unknown. Published by the sender's clock, the others by the worker's.
        self.published_ns = 0
        self.eta_ns = 0
        self.received_ns = 0
        self.started_ns = 0
        self.ended_ns = 0
        # `messaging.system` of the broker, "" for an eager run.
        self.system = ""

    @property
    def task_name(self) -> str:
        """Name of the task."""
        return str(self.task.name)

    @property
    def is_eager(self) -> bool:
        """Whether it runs in the process that called it, without a broker."""
        return bool(self.request.is_eager)

    @property
    def is_redelivered(self) -> bool:
        """Whether the broker says that it has delivered this message before."""
        return bool((self.request.delivery_info or {}).get("redelivered"))
