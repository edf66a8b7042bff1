"""One run of a task, as those see it who decide whether something is wrong with it.

A pure holder: `seams/celery/run/__init__.py` fills it in, detectors read it in their hook `on_task_end`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clew.story.local_trace import LocalTrace


@dataclass(slots=True, eq=False)
class TaskRun:
    """One run of a task that is ending; its span is still open."""

    # Its state in this process; `local.root` is the CONSUMER span.
    local: LocalTrace
    # Celery's task, and its request (`Context`) of the run.
    task: Any
    request: Any
    # A value of `celery.outcome`, and the exception that led to it.
    outcome: str = ""
    error: BaseException | None = None
    # What the task returned: the application's own object, nothing of it may be called or evaluated.
    result: Any = None
    # Nanoseconds since the epoch, 0 where unknown. Published by the sender's clock, the others by the worker's.
    published_ns: int = 0
    eta_ns: int = 0
    received_ns: int = 0
    started_ns: int = 0
    ended_ns: int = 0
    # `messaging.system` of the broker, "" for an eager run.
    system: str = ""

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
        delivery = self.request.delivery_info
        return isinstance(delivery, dict) and bool(delivery.get("redelivered"))
