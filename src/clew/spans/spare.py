"""One light span for many things that come one after another, most of which are not worth a span.

It is current while they run, and what they cost is a look whether anything has happened in it. What is worth a span
keeps it; what comes after that gets another. Until then nobody is told of it, and nothing counts it.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Span
from opentelemetry.trace.propagation import _SPAN_KEY

from clew.spans import folding, local_spans
from clew.spans.current import attach, detach, get_current
from clew.spans.folded_run import RunCursor
from clew.spans.light_span import LightSpan
from clew.spans.scope import Scope

# When one ended that nothing is to be opened below meanwhile.
_IDLE = 0


class Spare:
    """A span that is not one yet.

    Args:
        scope: the seam's.
        name: what it is called until it is kept.
        parent: the recording span it is below.
        context: what is current around it.
        more: what is in the context besides it.
    """

    __slots__ = ("_more", "_name", "_own_context", "_scope", "context", "parent", "span")

    def __init__(self, scope: Scope, name: str, parent: Span, context: Context, more: dict[str, Any]) -> None:
        self._scope, self._name, self._more = scope, name, more
        self.parent, self.context = parent, context
        self.span: LightSpan | None = None
        self._own_context = context

    def fits(self, context: Context) -> bool:
        """Whether it may stand for what comes in this context."""
        parent = self.parent
        if context is not self.context or type(parent) is not LightSpan or parent.end_time is not None:
            return False
        current: Any = context.get(_SPAN_KEY)
        return type(current) is not RunCursor or current.is_at(parent)

    def enter(self) -> LightSpan | None:
        """Make it current; None where the limit of the trace is reached."""
        span = self.span
        if span is None:
            made = self._scope.under(self.parent, self._name, None, is_silent=True)
            if type(made) is not LightSpan:
                return None
            self.span = span = made
            _count(span, -1)
            self._own_context = Context({**self.context, **self._more, _SPAN_KEY: span})
        span.end_time = None
        span.token = attach(self._own_context)
        return span

    def pause(self) -> None:
        """What it stands for waits: it is not current until `resume`."""
        if self.span is not None:
            self.span.restore()

    def resume(self) -> None:
        """Make it current again."""
        if self.span is not None:
            self.span.token = attach(self._own_context)

    def leave(self) -> None:
        """Nothing has happened: it waits for what comes next."""
        span = self.span
        if span is not None:
            token, span.token, span.end_time = span.token, None, _IDLE
            if token is not None and get_current() is self._own_context:
                detach(token)

    def keep(self, name: str, attributes: dict[str, Any], key: Any, error: BaseException | None = None) -> None:
        """What happened in it, from its `start_time` until now, is a span; equal ones (same `key`) fold."""
        span = self._given_away(name, attributes)
        folding.close_folded(span, span.above, key, error)

    def keep_open(self, name: str, attributes: dict[str, Any]) -> LightSpan:
        """As `keep`, but the caller ends it."""
        span = self._given_away(name, attributes)
        if get_current() is self._own_context:
            span.restore()
        span.token = None
        return span

    def _given_away(self, name: str, attributes: dict[str, Any]) -> LightSpan:
        span, self.span = self.span, None
        assert span is not None
        _count(span, 1)
        span.rename(name)
        for key, value in attributes.items():
            span.note(key, value)
        span.pipeline.notice()
        if span.pipeline.starters:
            touched = span.children, span.is_touched
            span.pipeline.start(span, self.context)
            span.children, span.is_touched = touched
        return span


def _count(span: LightSpan, number: int) -> None:
    """Count it, or no longer, among its parent's children and its trace's spans."""
    if span.above is not None:
        span.above.children += number
    local = local_spans.current()
    if local is not None:
        local.spans_left -= number
