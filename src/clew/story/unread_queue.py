"""A queue a task was sent to and nobody reads, as those see it who decide whether that is wrong.

A pure holder: `seams/celery/consumers/__init__.py` fills it in, detectors read it in their hook `on_queue`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from clew.source.call_site import CallSite
    from clew.story.local_trace import LocalTrace


@dataclass
class UnreadQueue:
    """A queue nobody reads.

    Args:
        local: the request or task that sent to it.
        name: of the queue.
        task_name: what was sent.
        span: an open span to say it on; None: the publish span has ended, so the root says it.
        site: the application's line that sent it, where it was looked for.
        messages: how many wait in it.
        does_exist: False: the broker does not have it and drops what is sent there.
        read_seconds_ago: when this process last knew it to be read; None: never.
        strangers: workers that do not say what they read, and may read it.
    """

    local: LocalTrace
    name: str
    task_name: str
    span: Any = None
    site: CallSite | None = None
    messages: int = 0
    does_exist: bool = True
    read_seconds_ago: float | None = None
    strangers: tuple[str, ...] = ()
