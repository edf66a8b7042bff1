"""In which task a message is handled: not always in the one that receives it.

`create_task(receive())`, and `wait_for` before Python 3.12, receive in a task of nothing else: who has made it goes on
with the message, which is the application's own task. Any other task handles what it receives.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from clew.source.frames import OURS, kind_of


def running() -> asyncio.Task[Any] | None:
    """The running task; None below another library's loop (trio, as hypercorn may have it)."""
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def holder_of(own: asyncio.Task[Any] | None) -> asyncio.Task[Any] | None:
    """The task that handles what the running one has received; `own` is the application's."""
    task = running()
    frame = getattr(task.get_coro(), "cr_frame", None) if task is not None and task is not own else None
    return own if frame is None or kind_of(frame) == OURS else task


def run_in(task: asyncio.Task[Any] | None, function: Callable[..., object], *given: Any) -> bool:
    """Call a function in a task's context; False where that cannot be done (before Python 3.12, or eagerly begun)."""
    if task is running():
        function(*given)
        return True
    context_of: Any = getattr(task, "get_context", None)
    if context_of is None or task is None or task.done():
        return False
    try:
        context_of().run(function, *given)
    except RuntimeError:
        return False
    return True
