"""One more run of what is a folded span already: a clock and a counter, and a span only if something happens in it.

Django's form templates render a thousand times a page. The first is a span and waits in its parent to stand for the
others (`folding`); these make a `FoldedRun` current, which is a span to whoever asks for the current one. As soon as
it has to have an id, an attribute or a child, it becomes a span of its own, which began when the run did.
"""

from __future__ import annotations

from contextvars import Token
from time import time_ns
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation import _SPAN_KEY

from clew.spans import folding, local_spans
from clew.spans.current import SUPPRESS, attach, get_current, reset
from clew.spans.forwarding import ForwardingSpan
from clew.spans.identity import StaticAttributes
from clew.spans.light_span import LightSpan

# What ended in a run and was folded: the run, how long it took, when it ended, and what ended in it.
_Ended = tuple[Any, int, int, Any]


class FoldedRun(ForwardingSpan):
    """A run of what `first` stands for; used again for each.

    Args:
        first: the folded span.
        above: the open span, or run, that it is below.
        called: the name of the span it may become.
    """

    __slots__ = (
        "_above",
        "_context",
        "_ended",
        "_first",
        "_folded",
        "_is_dropped",
        "_outer",
        "_outer_context",
        "_start_ns",
        "_token",
        "attributes",
        "before",
        "called",
        "end_time",
        "identity",
        "key",
        "role",
        "runs",
        "span",
        "what",
    )

    def __init__(self, first: LightSpan, above: Any, called: str) -> None:
        self._first, self._folded, self.called = first, folding.folded_in(first), called
        # What it is below: a span, or another run.
        self._above = above
        self._outer: FoldedRun | None = above if type(above) is FoldedRun else None
        self._outer_context: Context | None = None
        self._is_dropped = False
        # None while it runs, as an open span's.
        self.end_time: int | None = 0
        # What it has become, if it has.
        self.span: LightSpan | None = None
        self._ended: list[_Ended] | None = None
        # Those below it that may begin again.
        self.runs: dict[int, Any] | None = None
        # What it is a run of, its id, in which role, with which key and attributes; what the caller counts.
        self.what: Any = None
        self.identity = 0
        self.role: Any = None
        self.key: Any = None
        self.attributes: StaticAttributes | None = None
        self.before = 0

    def resolve(self) -> LightSpan:
        """Its span, made when first asked for; the one above, where the limit of the trace is reached."""
        if self.span is not None:
            return self.span
        first = self._first
        if self.end_time is not None:
            return first  # asked for by what has outlived the run
        above = self._above if self._outer is None else self._outer.resolve()
        local = local_spans.current()
        if local is not None and local.spans_left <= 0:
            local.dropped += not self._is_dropped
            self._is_dropped = True
            return above
        self.span = span = _below(above, first, self, self._start_ns)
        _move(self._ended, first, span)
        self._ended = None
        return span

    def close(self, error: BaseException | None = None) -> None:
        """The run is over: it is counted, or its span ends."""
        try:
            reset(self._token)
        except ValueError:  # begun in another context: there is nothing to restore in this one
            pass
        end_ns = time_ns()
        outer = self._outer
        if self.span is not None or error is not None:
            self._close_span(error)
        elif not self._is_dropped:
            took_ns = end_ns - self._start_ns
            folded = self._folded
            folded.count += 1
            folded.total_ns += took_ns
            folded.last_ns = took_ns
            if outer is not None and outer.span is None:
                if outer._ended is None:
                    outer._ended = []
                outer._ended.append((self, took_ns, end_ns, self._ended))
        self._ended, self._is_dropped, self.end_time = None, False, end_ns
        self._above.runs[self.identity] = self

    def _close_span(self, error: BaseException | None) -> None:
        span = self.resolve()
        if self.span is None:
            return  # there can be no span for the error
        folding.close_folded(span, span.above, self.key, error)
        self.span = None

    # The Span interface, for whoever asks for the current span.

    def get_span_context(self) -> SpanContext:
        """Context of its span; asked for by what becomes its child."""
        return self.resolve().get_span_context()

    def is_recording(self) -> bool:
        """Whether the run is not over."""
        return self.end_time is None

    def end(self, end_time: int | None = None) -> None:
        """End its span."""
        self.resolve().end(end_time)

    name = property(lambda self: self._first.name, doc="Name of the span it would be.")
    kind = property(lambda self: self._first.kind, doc="Kind of the span it would be.")

    _token: Token[Context]
    _context: Context
    _start_ns: int


def begin(what: Any, role: Any) -> FoldedRun | None:
    """Begin a run of what has been `enlist`ed below the current span, and make it current.

    Returns:
        The run, to be closed; None where it has to be a span, or may be `enlist`ed.
    """
    context = get_current()
    above: Any = context.get(_SPAN_KEY)
    if type(above) is FoldedRun:
        above = above.span or above
    elif type(above) is not LightSpan:
        return None
    runs = above.runs
    # Taken out for as long as it runs: in another thread the same may begin at the same time.
    run: FoldedRun | None = None if runs is None else runs.pop(id(what), None)
    if run is None:
        return None
    if run.what is not what or run.role is not role or above.end_time is not None:
        runs[run.identity] = run
        return None
    if run._outer_context is not context:
        if context.get(SUPPRESS) or run._first.pipeline.starters:
            runs[run.identity] = run
            return None
        run._outer_context, run._context = context, Context({**context, _SPAN_KEY: run})
    run.end_time = None
    run._token = attach(run._context)
    run._start_ns = time_ns()
    return run


def enlist(what: Any, role: Any, key: Any, attributes: StaticAttributes, name: str) -> FoldedRun | None:
    """`begin` the first run of what is folded below the current span already.

    Args:
        what: by which it is known from now on, by identity.
        role: the part it plays.
        key: what equal spans fold by.
        attributes: those of the span it may become.
        name: its name.
    """
    above: Any = get_current().get(_SPAN_KEY)
    if type(above) is FoldedRun:
        above = above.span or above
    elif type(above) is not LightSpan:
        return None
    holder = above if type(above) is LightSpan else above._first
    first = None if holder.folds is None else holder.folds.get(key)
    if first is None or above.end_time is not None:
        return None
    run: FoldedRun | None = first.run
    if run is None or run._above is not above or run.called != name:
        # Each template of a group has its own, below each run that it is part of.
        first.run = run = FoldedRun(first, above, name)
    elif run.end_time is None:
        return None
    folding.note_unequal(first, key, name)
    if above.runs is None:
        above.runs = {}
    if len(above.runs) < first.pipeline.max_folds:
        above.runs[id(what)] = run
    run.what, run.identity, run.role, run.key, run.attributes = what, id(what), role, key, attributes
    return begin(what, role)


def _below(above: LightSpan, like: LightSpan, run: FoldedRun, start_ns: int) -> LightSpan:
    local = local_spans.current()
    if local is not None:
        local.spans_left -= 1
    above.children += 1
    return LightSpan(
        *(like.pipeline, like.instrumentation_scope, run.called, like.trace, above),
        kind=like.kind,
        static=run.attributes,
        start_ns=start_ns,
    )


def _move(ended: list[_Ended] | None, first: LightSpan, span: LightSpan) -> None:
    """What ended in a run was counted below `first`; it belongs below the span that the run has become."""
    for run, took_ns, end_ns, inside in ended or ():
        stands, key = run._first, run.key
        folding.uncount_repeat(stands, took_ns)
        moved = _below(span, stands, run, end_ns - took_ns)
        _move(inside, stands, moved)
        moved.end_time = end_ns
        folding.fold(moved, span, key)
