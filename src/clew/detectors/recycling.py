"""After how many requests the server replaces this process: told from its frames below the application's."""

from __future__ import annotations

import sys
from typing import Any

from clew.engine import needs

_MAX_FRAMES = 300
_SERVERS = ("gunicorn.workers.", "uvicorn")

needs.declare(
    __name__,
    *needs.attributes("gunicorn.workers.base", "Worker", "max_requests"),
    *needs.attributes("uvicorn.server", "Server", "config"),
    *needs.attributes("uvicorn.config", "Config", "limit_max_requests"),
    consequence="memory_growth does not say that the server replaces its workers",
)


def requests_until_replaced() -> int:
    """How many in all, told where a request ends; 0: it is not replaced, as far as is known."""
    frame: Any = sys._getframe()
    for _ in range(_MAX_FRAMES):
        if frame is None:
            return 0
        if str(frame.f_globals.get("__name__", "")).startswith(_SERVERS):
            server = frame.f_locals.get("self")
            config = getattr(server, "config", None)
            found = getattr(server, "max_requests", None) or getattr(config, "limit_max_requests", None)
            if type(found) is int and found < sys.maxsize:
                return found
        frame = frame.f_back
    return 0
