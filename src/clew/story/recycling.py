"""After how many requests the server replaces this process: told from its frames below the application's."""

from __future__ import annotations

import sys
from typing import Any

from clew import attributes as names
from clew.engine import forks, needs
from clew.engine.metric import COUNTER, Metric, is_metered

_MAX_FRAMES = 300
_SERVERS = ("gunicorn.workers.", "uvicorn")
_TEXT = "Processes of a web server that it replaces after a number of requests (`--max-requests`)."
_RECYCLED = Metric("clew.server", names.CLEW_SERVER_RECYCLED, COUNTER, "{process}", _TEXT)

needs.declare(
    __name__,
    *needs.attributes("gunicorn.workers.base", "Worker", "max_requests", "nr"),
    *needs.attributes("uvicorn.server", "Server", "config", "server_state"),
    *needs.attributes("uvicorn.config", "Config", "limit_max_requests"),
    consequence="neither a request nor memory_growth says that the server replaces its workers",
)


class _State:
    """Of this process: its server, looked for once, and whether it is told already that it is replaced."""

    server: Any = None
    is_known = is_told = False


@forks.renew
def reset() -> None:
    """A child's server is not known yet."""
    _State.server, _State.is_known, _State.is_told = None, False, False


def serving(server: Any) -> None:
    """uvicorn's server begins to serve in this process: below gunicorn no frame leads to it."""
    _State.server, _State.is_known = server, True


def requests_until_replaced() -> int:
    """How many in all, told where a request ends; 0: it is not replaced, as far as is known."""
    if not _State.is_known:
        _State.server, _State.is_known = _server(), True
    server = _State.server
    if server is None:
        return 0
    # uvicorn's own is the configured one and a random number.
    found: Any = getattr(server, "max_requests", None) or getattr(server, "limit_max_requests", None)
    found = found or getattr(getattr(server, "config", None), "limit_max_requests", None)
    return found if type(found) is int and found < sys.maxsize else 0


def reached() -> int:
    """That number where it is reached: this process serves no more than what it has begun; 0: it goes on."""
    limit = requests_until_replaced()
    if not limit:
        return 0
    served: Any = getattr(_State.server, "nr", None)
    if served is None:
        # uvicorn counts a request when its last byte is sent.
        served = 1 + getattr(getattr(_State.server, "server_state", None), "total_requests", 0)
    if served < limit:
        return 0
    if not _State.is_told:
        _State.is_told = True
        if is_metered():
            _RECYCLED.record(1, {})
    return limit


def _server() -> Any:
    frame: Any = sys._getframe()
    for _ in range(_MAX_FRAMES):
        if frame is None:
            return None
        server = frame.f_locals.get("self")
        if str(frame.f_globals.get("__name__", "")).startswith(_SERVERS) and (
            hasattr(server, "max_requests") or hasattr(server, "should_exit")
        ):
            return server
        frame = frame.f_back
    return None
