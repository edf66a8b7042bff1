"""The spans one request or task may still open in this process, and what the last one ended with.

A ContextVar, not the OpenTelemetry context, because it follows asyncio tasks and asgiref's threads the same way and
costs a hundredth of a microsecond to read; nothing in it crosses a process.
"""

from __future__ import annotations

from contextvars import Context, ContextVar, Token
from typing import Any


class LocalSpans:
    """What spans know of their request or task; the rest of it is `story.local_trace`.

    Args:
        max_spans: how many it may have below its root.
    """

    __slots__ = ("dropped", "error_id", "foreign", "is_over", "spans_left", "unexplained")

    def __init__(self, max_spans: int) -> None:
        self.spans_left = max_spans
        self.dropped = 0
        # id of the exception the last ended span ended with: its event is recorded once, where it was raised.
        self.error_id = 0
        # Spans that are not clew's, by id, in which some of clew's wait to be folded (`folding.ForeignParent`).
        self.foreign: dict[int, Any] | None = None
        # What has failed with an error that is not known yet: asked of each error that ends a span.
        self.unexplained: list[Any] | None = None
        # Whether the root has ended; what the request or task has left behind may still be at work.
        self.is_over = False

    def explain(self, error: BaseException) -> None:
        """A span ends with this error: it may be what is waited for."""
        waiting, self.unexplained = self.unexplained or [], []
        self.unexplained = [each for each in waiting if not each.is_explained_by(error)]


_current: ContextVar[LocalSpans | None] = ContextVar("clew_local_spans", default=None)

current = _current.get


def in_context(context: Context) -> LocalSpans | None:
    """The one that is current in a context, which may be another thread's."""
    return context.get(_current)


def enter(local: LocalSpans | None) -> Token[LocalSpans | None]:
    """Make `local` the current one; give the token to `leave`."""
    return _current.set(local)


def leave(token: Token[LocalSpans | None]) -> None:
    """Undo `enter`. A token of another context (a generator closed elsewhere) is ignored."""
    try:
        _current.reset(token)
    except ValueError:
        pass
