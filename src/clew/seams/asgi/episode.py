"""One piece of a connection's life with a span and a local trace of its own: its opening, a message that is handled."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, SpanContext, SpanKind, set_span_in_context

from clew.engine import isolation
from clew.spans import scope as spans
from clew.spans.current import attach, detach, get_current
from clew.story import local_trace
from clew.story.local_trace import LocalTrace


class Episode:
    """A root span that is current from now on, until `leave`; it ends once, wherever `end` is called.

    Args:
        root: the span, started.
        context: what it was started in.
        where: as what it is counted, in metrics.
        max_spans: clew's spans below it.
    """

    __slots__ = ("_is_over", "_tokens", "local", "root")

    def __init__(self, root: spans.OpenSpan, context: Context, where: dict[str, str], max_spans: int) -> None:
        self.root, self._is_over = root, False
        self.local = LocalTrace(root, max_spans)
        self.local.where = where
        self._tokens: Any = attach(set_span_in_context(root.span, context)), local_trace.enter(self.local)

    def note(self, said: Mapping[str, Any]) -> None:
        """Set attributes, while it is open."""
        if not self._is_over:
            for name, value in said.items():
                self.root.note(name, value)

    @property
    def is_over(self) -> bool:
        """Whether its span has ended."""
        return self._is_over

    @property
    def span_context(self) -> SpanContext:
        """What leads to it."""
        found: SpanContext = self.root.span.get_span_context()
        return found

    def end(self, error: BaseException | None = None) -> None:
        """End its span; what is still current may go on below it."""
        if self._is_over:
            return
        self._is_over = True
        try:
            self.local.finish()
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, __name__)
        self.root.close(error)

    def leave(self, error: BaseException | None = None) -> None:
        """End it, and make current what was so before."""
        self.end(error)
        tokens, self._tokens = self._tokens, None
        if tokens is not None:
            local_trace.leave(tokens[1])
            detach(tokens[0])


def begin(
    scope: str,
    name: str,
    kind: SpanKind,
    context: Context,
    attributes: dict[str, Any],
    links: Sequence[Link] = (),
    where: dict[str, str] | None = None,
    *,
    is_own_trace: bool = False,
) -> Episode | None:
    """Begin one; None where nothing is to be told."""
    pipeline = spans.pipeline()
    if pipeline is None or spans.is_suppressed():
        return None
    root = spans.start_root(pipeline, scope, name, kind, context, attributes, links, is_own_trace=is_own_trace)
    return None if root is None else Episode(root, context, where or {}, pipeline.max_spans_per_trace)


def outside() -> Context:
    """What is current, but for the span: what begins there is the first of a trace."""
    return set_span_in_context(INVALID_SPAN, get_current())
