"""What each check of `clew doctor` is made of: its line, and a call that ends in time."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from clew.cli.reason import reason

OK, WARNING, PROBLEM = "ok", "warning", "problem"
# A site has hundreds of tasks, and a line is to stay one line.
_SHOWN_NAMES = 3

Found = TypeVar("Found")


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the report.

    Args:
        topic: what was looked at, one word.
        level: `ok`, `warning` or `problem`.
        text: what was found.
        fix: how to mend it; empty where nothing is wrong.
    """

    topic: str
    level: str
    text: str
    fix: str = ""


def listed(names: Iterable[str]) -> str:
    """Names in one line: the first few, and how many more there are."""
    known = sorted(names)
    more = len(known) - _SHOWN_NAMES
    return ", ".join(known[:_SHOWN_NAMES]) + (f" and {more} more" if more > 0 else "")


def within(seconds: float, call: Callable[[], Found]) -> Found:
    """Call something that talks to the network, and wait no longer than that for it.

    No timeout of a library covers everything (resolving a name, a retry, a TLS handshake), so the call is left behind
    in a thread that does not keep the process alive. What it does is not traced.

    Raises:
        TimeoutError: it has not ended.
    """
    answer: queue.SimpleQueue[tuple[Any, BaseException | None]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answer.put((_untraced(call), None))
        except BaseException as error:  # noqa: BLE001 - raised again where it is waited for
            answer.put((None, error))

    threading.Thread(target=work, name="clew-doctor", daemon=True).start()
    try:
        found, error = answer.get(timeout=seconds)
    except queue.Empty:
        raise TimeoutError(f"no answer within {seconds:g} s") from None
    if error is not None:
        raise error
    result: Found = found
    return result


def _untraced(call: Callable[[], Found]) -> Found:
    from opentelemetry.instrumentation.utils import suppress_instrumentation

    with suppress_instrumentation():
        return call()


def guarded(topic: str, check: Callable[[], Sequence[Check]]) -> Sequence[Check]:
    """Run a check; that it fails itself is one line too, and the others go on."""
    try:
        return check()
    except ModuleNotFoundError as error:
        return [Check(topic, PROBLEM, f"the Python package {error.name!r} is missing", f"pip install {error.name}")]
    except Exception as error:  # noqa: BLE001 - a project, a library or we may raise anything
        return [Check(topic, WARNING, f"could not be checked: {reason(error)}")]
