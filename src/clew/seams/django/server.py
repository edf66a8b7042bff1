"""No span of its own: spans of a uvicorn process that is told to stop are sent before it goes.

uvicorn ends by raising the signal it was stopped with once more, this time with the default handler, so no exit handler
runs and what waits for the export is lost. We stand at `Server.shutdown`, when the last request is answered. gunicorn,
runserver and hypercorn leave through the interpreter's exit, where bootstrap sends the rest.
"""

from __future__ import annotations

import asyncio
from typing import Any

from clew.core import spans
from clew.core.flush import flush_before_exit
from clew.engine import isolation
from clew.engine.seam import Patch, Seam, like


def _wrap_shutdown(original: Any) -> Any:
    async def shutdown(self: Any, sockets: Any = None) -> Any:
        try:
            return await original(self, sockets)
        finally:
            await _flush()

    return like(original, shutdown)


async def _flush() -> None:
    pipeline = spans.pipeline()
    if pipeline is None:
        return
    try:
        await asyncio.to_thread(flush_before_exit, pipeline.provider, is_last=True)
    except Exception as error:  # noqa: BLE001 - ours must not reach the application
        isolation.report(error, __name__)


SEAM = Seam("django.server", patches=(Patch("uvicorn.server", "Server.shutdown", _wrap_shutdown),))
