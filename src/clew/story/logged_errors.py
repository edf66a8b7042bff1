"""Exceptions a task has logged as errors, by the line that logged them; nothing of them stays alive."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from time import time_ns
from typing import TYPE_CHECKING, Any

from clew.engine.redaction.exception_event import exception_attributes, message_of, type_name
from clew.source.source_tree import Step, steps_of
from clew.story.local_trace import Slot

if TYPE_CHECKING:
    from clew.source.call_site import CallSite

_MAX_LINES = 10
_MAX_MESSAGE = 200


@dataclass
class LoggedError:
    """What one line logged.

    Args:
        type: class of the exception.
        message: its message, redacted, of bounded length.
        logger: name of the logger.
        site: the line that logged it.
        raised_at: the application's line it was raised at, or came through.
        event: attributes of its `exception` event; None where nothing is recorded.
        time_ns: when it was logged first.
        steps: the application's functions that were run then, innermost first.
        is_librarys: a library logged it.
        count: how often.
    """

    type: str
    message: str
    logger: str
    site: CallSite
    raised_at: CallSite | None
    event: dict[str, Any] | None
    time_ns: int
    steps: tuple[Step, ...] = ()
    is_librarys: bool = False
    count: int = 1


class LoggedErrors:
    """The exceptions one run has logged."""

    __slots__ = ("_by_line", "_is_busy")

    def __init__(self) -> None:
        self._by_line: dict[tuple[str, int, str], LoggedError] = {}
        self._is_busy = False

    def __iter__(self) -> Any:
        return iter(list(self._by_line.values()))

    def add(
        self,
        error: BaseException,
        logger: str,
        site: CallSite,
        raised_at: CallSite | None,
        *,
        is_recording: bool,
        is_librarys: bool,
    ) -> None:
        """Count an exception; what is to be said of it is worked out for the first of each line."""
        key = site.path, site.line, type_name(error)
        known = self._by_line.get(key)
        if known is not None:
            known.count += 1
        elif len(self._by_line) < _MAX_LINES and not self._is_busy:
            # A `__str__` that logs comes back here.
            self._is_busy = True
            try:
                message = " ".join(message_of(error).split())[:_MAX_MESSAGE]
                event = exception_attributes(error, escaped=False) if is_recording else None
                steps = steps_of(sys._getframe(1))
                self._by_line[key] = LoggedError(
                    key[2], message, logger, site, raised_at, event, time_ns(), steps, is_librarys
                )
            finally:
                self._is_busy = False


LOGGED: Slot[LoggedErrors] = Slot()
