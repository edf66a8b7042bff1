"""What one request or task knows about itself in this process: bounded counters beside its root span.

A ContextVar, not the OpenTelemetry context, because it follows asyncio tasks and asgiref's threads the same way and
costs a hundredth of a microsecond to read; nothing in it crosses a process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from clew import attributes as names

if TYPE_CHECKING:
    from clew.core.spans import OpenSpan


class LocalTrace:
    """State of one request or task.

    Args:
        root: its SERVER or CONSUMER span.
        max_spans: how many of clew's spans it may have below the root.
    """

    __slots__ = ("at_end", "cursor", "dropped", "error_id", "is_recording", "notes", "root", "spans_left")

    def __init__(self, root: OpenSpan, max_spans: int) -> None:
        self.root = root
        self.is_recording = root.span.is_recording()
        self.spans_left = max_spans
        self.dropped = 0
        # id of the exception the last ended span ended with: its event is recorded once, where it was raised.
        self.error_id = 0
        # The middleware seam's position in the chain.
        self.cursor: Any = None
        # What a seam keeps between two of its hooks, by the seam's own key; a handful of entries.
        self.notes: dict[str, Any] = {}
        # What seams have to say on the root before it ends.
        self.at_end: list[Callable[[], None]] = []

    def finish(self) -> None:
        """Let every seam say what it has to say on the root; then the root may end."""
        for say in self.at_end:
            say()
        self.at_end.clear()
        self.cursor = None
        if self.dropped:
            self.root.note(names.CLEW_SPANS_DROPPED, self.dropped)


_current: ContextVar[LocalTrace | None] = ContextVar("clew_local_trace", default=None)

current = _current.get


def enter(local: LocalTrace | None) -> Token[LocalTrace | None]:
    """Make `local` the current one; give the token to `leave`."""
    return _current.set(local)


def leave(token: Token[LocalTrace | None]) -> None:
    """Undo `enter`. A token of another context (a generator closed elsewhere) is ignored."""
    try:
        _current.reset(token)
    except ValueError:
        pass
