"""Every way a process ends by itself or is told to: what has ended is sent, or counted, before it is gone.

The interpreter's exit handlers cover `sys.exit` and an exception. They do not run in a child of `multiprocessing`
(which leaves by `os._exit` after its own finalizers), nor where SIGTERM has nobody who handles it: there a handler of
ours sends what there is and lets the signal do what it would have done. SIGKILL and `os._exit` cannot be heard.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

import wrapt

from clew.engine import isolation

_FORKED = "multiprocessing.util"
# After the finalizers of the application, which may still record something.
_LAST = -1000


class State:
    """What is called before the process ends."""

    leave: Callable[[], None] | None = None
    is_leaving = False


class _Children:
    """Held by `multiprocessing` for as long as this process lives: its children register with their own finalizers."""


_children = _Children()


def install(leave: Callable[[], None]) -> None:
    """Have this called, once or more, in the last moments of this process and of its children."""
    is_first, State.leave = State.leave is None, leave
    if not is_first:
        return
    atexit.register(run)
    if _FORKED in sys.modules:
        _listen(sys.modules[_FORKED])
    else:
        wrapt.register_post_import_hook(_listen, _FORKED)
    handle_signal()


def uninstall() -> None:
    """Remove the callbacks, and restore the handler of SIGTERM."""
    State.leave = None
    atexit.unregister(run)
    if _is_main_thread() and signal.getsignal(signal.SIGTERM) is _told_to_end:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)


def run() -> None:
    """Run the callbacks; signals are held back until they are done."""
    leave = State.leave
    if leave is None or State.is_leaving:
        return
    State.is_leaving = True
    try:
        with undisturbed():
            leave()
    except Exception as error:  # noqa: BLE001 - ours must not change how a process ends
        isolation.report(error, __name__)
    finally:
        State.is_leaving = False


def handle_signal() -> None:
    """Handle SIGTERM where it would end the process without a word; whoever handles it later replaces ours."""
    if State.leave is not None and _is_main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL:
        signal.signal(signal.SIGTERM, _told_to_end)


def _told_to_end(number: int, _: FrameType | None) -> None:
    run()
    signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """In a process that is leaving anyway: what would end it at once is not heard."""
    before: dict[int, Any] = {}
    try:
        if _is_main_thread():
            # uWSGI's master says it twice, the second time by SIGINT, and its workers leave in the handler.
            for name in ("SIGTERM", "SIGQUIT", "SIGHUP", *(["SIGINT"] if "uwsgi" in sys.modules else [])):
                number = getattr(signal, name, None)
                if number is not None:
                    before[number] = signal.signal(number, signal.SIG_IGN)
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)


def _listen(util: ModuleType) -> None:
    util.register_after_fork(_children, _forked)
    if _is_child():
        _forked(_children)  # spawned: it was a child before it knew of us


def _forked(_: _Children) -> None:
    State.is_leaving = False
    sys.modules[_FORKED].Finalize(None, run, exitpriority=_LAST)
    handle_signal()


def _is_child() -> bool:
    process = sys.modules.get("multiprocessing.process")
    return process is not None and process.parent_process() is not None


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()
