"""No span: which coroutine waits for the thread a query runs in, so that the query knows the line that awaited it.

We stand at `SyncToAsync.__call__`, the one way from async code to the ORM: in the thread there is nothing of the
coroutines on the stack, and every `await Author.objects.aget()` of a site would look like the same place.
"""

from __future__ import annotations

import asyncio
from typing import Any

from clew.core import local_trace
from clew.core.call_site import AWAITING
from clew.engine.seam import Patch, Seam, like


def _wrap_call(original: Any) -> Any:
    async def __call__(self: Any, *args: Any, **kwargs: Any) -> Any:  # noqa: N807 - it replaces one
        __traceback_hide__ = True
        if local_trace.current() is None:
            return await original(self, *args, **kwargs)
        token = AWAITING.set(asyncio.current_task())
        try:
            return await original(self, *args, **kwargs)
        finally:
            AWAITING.reset(token)

    return like(original, __call__)


SEAM = Seam("django.async_bridge", patches=(Patch("asgiref.sync", "SyncToAsync.__call__", _wrap_call),))
