"""Our own errors stay ours: logged once for each place, never raised into the application.

`is_strict` is set by clew's own test suite: there a bug of ours fails the test. A user's test suite is the
application, so it is not strict (docs/rationale.md).
"""

from __future__ import annotations

import logging
import os
import threading
from types import FrameType

from clew.engine.log import log

is_strict = False
_MAX_REPORTED = 1000
_reported: set[tuple[str, str]] = set()
_lock = threading.Lock()


def _renew_lock() -> None:
    global _lock
    _lock = threading.Lock()  # another thread may have held it when this process was forked


os.register_at_fork(after_in_child=_renew_lock)


def report(error: BaseException, where: str) -> None:
    """Log an error of clew's own, once for each `where` and class of error.

    Args:
        error: what went wrong inside clew.
        where: the seam, processor or step it happened in.

    Raises:
        BaseException: the error itself, in clew's own tests only (`is_strict`).
    """
    if is_strict or _is_of_a_signal(error):
        raise error
    key = (where, type(error).__qualname__)
    with _lock:
        if key in _reported or len(_reported) >= _MAX_REPORTED:
            return
        _reported.add(key)
    log(
        logging.ERROR,
        "clew: internal error in %s, tracing of it is incomplete, the application is not affected (said once): %r",
        where,
        error,
        error=error,
    )


def _is_of_a_signal(error: BaseException) -> bool:
    """Whether a signal's handler raised it while our code ran: it is the application's (a time limit of its own)."""
    step = error.__traceback__
    while step is not None:
        code, held = step.tb_frame.f_code, step.tb_frame.f_locals
        names = code.co_varnames[: code.co_argcount]
        if len(names) == 2 and isinstance(held.get(names[1]), FrameType) and isinstance(held.get(names[0]), int):
            return True
        step = step.tb_next
    return False


def warn(line: str) -> None:
    """Log a line as a warning, once in a process."""
    with _lock:
        if ("", line) in _reported or len(_reported) >= _MAX_REPORTED:
            return
        _reported.add(("", line))
    log(logging.WARNING, "%s", line)
