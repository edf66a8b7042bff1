"""No span of its own: a soft time limit that strikes inside clew's code is raised as soon as that is left.

billiard raises `SoftTimeLimitExceeded`, an Exception, out of a signal's handler, between any two instructions. If those
are ours, or those of a receiver that Celery's signals guard, it would be taken for an error of ours and the task would
go on without its limit. So we stand at billiard's handler: it looks at the frame that was interrupted, and comes again
a little later while that is clew's.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
from types import FrameType
from typing import Any

from clew.engine import forks
from clew.engine.needs import functions
from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around

_SOON_SECONDS = 0.002
_MAX_TIMES = 1000
_BESIDE = frozenset(("opentelemetry", "wrapt", *sys.stdlib_module_names))


class _Deferred:
    """The limit that waits: of which run, and how often it has come."""

    run: Any = None
    times = 0


def is_ours(frame: FrameType | None) -> bool:
    """Whether clew's code is what was interrupted, or what it has called; not what was called through it."""
    while frame is not None:
        package = str(frame.f_globals.get("__name__", "")).partition(".")[0]
        if package == "clew":
            return True
        if package not in _BESIDE or frame.f_globals.get("__name__") == "__main__":
            return False
        frame = frame.f_back
    return False


def _running() -> Any:
    state: Any = sys.modules.get("celery._state")
    task = state._task_stack.top if state is not None else None
    return task.request.id if task is not None else None


def _instead(signum: int, frame: FrameType | None) -> Any:
    run, waiting = _running(), _Deferred.times > 0
    if waiting and run != _Deferred.run:
        _Deferred.run, _Deferred.times = None, 0
        return None  # the run it was for is over
    if SEAM.is_installed and _Deferred.times < _MAX_TIMES and is_ours(frame):
        _Deferred.run = run
        _Deferred.times += 1
        again = threading.Timer(_SOON_SECONDS, os.kill, (os.getpid(), signal.Signals(signum)))
        again.daemon = True
        forks.start(again)
        return None
    _Deferred.run, _Deferred.times = None, 0
    return NotImplemented


SEAM = Seam(
    "celery.time_limit",
    patches=(Patch("billiard.pool", "soft_timeout_sighandler", Around(instead=_instead)),),
    needs=functions("celery._state", "_task_stack"),
)
