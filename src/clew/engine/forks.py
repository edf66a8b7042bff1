"""The one place that renews what a forked child must not share: locks, threads, random numbers, `process.pid`, counts.

`os.register_at_fork` tells of most forks. A server that forks without telling Python (uWSGI) does not run its hooks:
there `notice`, called where a request or task begins, sees that the pid is another one.

OpenTelemetry's SDK starts its threads again in the child, by hooks of its own. A signal for the process may be heard by
any thread that does not block it, and then its handler interrupts what the main thread does although that blocks it, as
billiard's child does while it says goodbye: its SIGTERM left the lock of the results held, and the worker stood still.
So signals are blocked from before the fork until the last hook in the child, which ours is where we came last.
"""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Callable, Iterator

from clew.engine.log import log

_in_child: list[Callable[[], None]] = []
_before: list[Callable[[], None]] = []
_in_parent: list[Callable[[], None]] = []
_pid = os.getpid()
_forking = threading.local()


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


@contextlib.contextmanager
def without_signals() -> Iterator[None]:
    """Threads that are started meanwhile hear no signals: uWSGI ends its worker in the very thread that hears one.

    Not in a thread itself: among greenlets that is the application's own.
    """
    before = _block_signals()
    try:
        yield
    finally:
        _unblock_signals(before)


def start(thread: threading.Thread) -> None:
    """Start a thread that hears no signals.

    Raises:
        RuntimeError: the interpreter is ending (Python 3.12), or there may be no more threads.
    """
    with without_signals():
        thread.start()


def _block_signals() -> set[int] | None:
    mask = getattr(signal, "pthread_sigmask", None)
    return None if mask is None else mask(signal.SIG_BLOCK, signal.valid_signals())


def _unblock_signals(before: set[int] | None) -> None:
    if before is not None:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _before_fork() -> None:
    _run(_before)
    _forking.mask = _block_signals()


def _after_fork(calls: Callable[[], None]) -> None:
    try:
        calls()
    finally:
        _unblock_signals(_forking.__dict__.pop("mask", None))


def _renew() -> None:
    global _pid
    _pid = os.getpid()
    _run(_in_child)


def _run(calls: list[Callable[[], None]]) -> None:
    for call in calls:
        try:
            call()
        except Exception as error:  # noqa: BLE001 - whatever it is, the child goes on
            log(logging.ERROR, "clew: internal error after a fork", error=error)


os.register_at_fork(
    before=_before_fork,
    after_in_parent=lambda: _after_fork(lambda: _run(_in_parent)),
    after_in_child=lambda: _after_fork(_renew),
)
