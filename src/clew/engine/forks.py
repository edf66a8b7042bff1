"""The one place that renews what a forked child must not share: locks, threads, random numbers, `process.pid`, counts.

`os.register_at_fork` tells of most forks. A server that forks without telling Python (uWSGI) does not run its hooks:
there `notice`, called where a request or task begins, sees that the pid is another one.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable

logger = logging.getLogger("clew")

_in_child: list[Callable[[], None]] = []
_before: list[Callable[[], None]] = []
_in_parent: list[Callable[[], None]] = []
_pid = os.getpid()


def renew(in_child: Callable[[], None]) -> Callable[[], None]:
    """Have this called in every forked child, in the order of registration; a decorator."""
    _in_child.append(in_child)
    return in_child


def hold(before: Callable[[], None], in_parent: Callable[[], None]) -> None:
    """Have `before` called before a fork and `in_parent` after it, in the parent."""
    _before.append(before)
    _in_parent.append(in_parent)


def notice() -> None:
    """Renew what a fork has left shared, if this is a child whose hooks nobody has run."""
    if os.getpid() != _pid:
        _renew()


def _renew() -> None:
    global _pid
    _pid = os.getpid()
    _run(_in_child)


def _run(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        try:
            call()
        except Exception:
            logger.exception("clew: internal error after a fork")


os.register_at_fork(before=lambda: _run(_before), after_in_parent=lambda: _run(_in_parent), after_in_child=_renew)
