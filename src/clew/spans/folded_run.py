"""One more run of what is a folded span already: a clock and a counter, and a span only if something happens in it.

Django's form templates render a thousand times a page. The first is a span and waits in its parent to stand for the
others (`folding`); these are `FoldedRun`s. One `RunCursor` is current in their stead: to whoever asks for the current
span it is the innermost of those that are open, which becomes a span, as if it had been one since it began, as soon as
it has to have an id, an attribute or a child. To make each of them current would cost more than all the rest.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import Token
from threading import get_ident
from time import time_ns
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import SpanContext
from opentelemetry.trace.propagation import _SPAN_KEY

from clew.spans import folding, local_spans
from clew.spans.current import SUPPRESS, attach, detach, get_current
from clew.spans.forwarding import ForwardingSpan
from clew.spans.identity import StaticAttributes
from clew.spans.light_span import LightSpan

# What ended in a run and was folded: the run, how long it took, when it ended, and what ended in it.
_Ended = tuple[Any, int, int, Any]


class FoldedRun:
    """A run of what `first` stands for; used again for each.

    Args:
        cursor: where it is told.
        above: the open span, or run, that it is below.
        first: the folded span.
        called: the name of the span it may become.
    """

    __slots__ = (
        "_ended",
        "_other_runs",
        "above",
        "attributes",
        "before",
        "called",
        "cursor",
        "first",
        "folded",
        "is_counted",
        "key",
        "outer",
        "role",
        "runs",
        "say",
        "span",
        "start_ns",
        "what",
    )

    def __init__(self, cursor: RunCursor, above: Any, first: LightSpan, called: str) -> None:
        self.cursor, self.above, self.first, self.called = cursor, above, first, called
        self.folded = folding.folded_in(first)
        # The run it was begun in; its cursor, where it was in none.
        self.outer: Any = cursor
        # Whether it is not a span, nor would have been one too many.
        self.is_counted = True
        # What it has become, if it has.
        self.span: LightSpan | None = None
        self._ended: list[_Ended] | None = None
        # Those below it that may begin again, by the id of what they are runs of; and, while it is a span, the others.
        self.runs: dict[int, FoldedRun] = {}
        self._other_runs = self.runs
        # What it is a run of, in which role, with which key and attributes; what its caller counts, and says.
        self.what: Any = None
        self.role: Any = None
        self.key: Any = None
        self.attributes: StaticAttributes | None = None
        self.before = self.start_ns = 0
        self.say: Callable[[FoldedRun, LightSpan], None] | None = None

    def resolve(self) -> LightSpan:
        """Its span, made when first asked for; the one above, where the limit of the trace is reached."""
        if self.span is not None:
            return self.span
        above: LightSpan = self.outer.span or self.outer.resolve()
        local = local_spans.current()
        if local is not None and local.spans_left <= 0:
            local.dropped += self.is_counted
            self.is_counted = False
            return above
        self.is_counted, self.runs = False, {}
        self.span = span = _below(above, self.first, self, self.start_ns)
        _move(self._ended, self.first, span)
        self._ended = None
        return span

    def close(self, error: BaseException | None = None) -> None:
        """The run is over: it is counted, or its span ends."""
        cursor = self.cursor
        outer = cursor.run = self.outer
        if error is not None or not self.is_counted:
            self._close_span(error)
        else:
            end_ns, folded = time_ns(), self.folded
            took_ns = end_ns - self.start_ns
            folded.count += 1
            folded.total_ns += took_ns
            folded.last_ns = took_ns
            if outer.span is None:
                if outer._ended is None:
                    outer._ended = [(self, took_ns, end_ns, self._ended)]
                else:
                    outer._ended.append((self, took_ns, end_ns, self._ended))
            self._ended = None
        if outer is cursor and cursor.token is not None:
            token, cursor.token = cursor.token, None
            detach(token)

    def _close_span(self, error: BaseException | None) -> None:
        span = self.span if error is None else self.resolve()
        if span is not None and self.span is not None:  # else there can be no span, not even for an error
            if self.say is not None:
                self.say(self, span)
            folding.close_folded(span, span.above, self.key, error)
        self.span = self._ended = None
        self.is_counted, self.runs = True, self._other_runs


class RunCursor(ForwardingSpan):
    """The current span while runs come and go below a span, of one thread.

    Args:
        above: the span.
        stays: it is current until `above` ends, which makes current what was so before; else as long as the outermost
            run is open.
    """

    __slots__ = ("_outer_context", "_stays", "above", "context", "run", "runs", "span", "thread", "token")

    def __init__(self, above: LightSpan, *, stays: bool) -> None:
        self.above = self.span = above
        self._stays, self.thread = stays, get_ident()
        # The innermost run that is open, itself where none is; and those that may begin then.
        self.run: Any = self
        self.runs: dict[int, FoldedRun] = {}
        # What is current with it, and without.
        self.context: Context | None = None
        self._outer_context: Context | None = None
        self.token: Token[Context] | None = None

    def resolve(self) -> LightSpan:
        """The span of the innermost run; the one above, where none is open."""
        run = self.run
        span: LightSpan = self.above if run is self else run.resolve()
        return span

    def is_at(self, span: LightSpan) -> bool:
        """Whether that is what `resolve` gives, and a span already."""
        return self.run.span is span

    def is_free_in(self, context: Context) -> bool:
        """Whether runs may begin, of this thread and in this context."""
        return (
            self.thread == get_ident()
            and self.above.end_time is None
            and (context is self.context or not context.get(SUPPRESS))
        )

    def begin(self, run: FoldedRun) -> FoldedRun:
        """A run begins."""
        run.outer, self.run = self.run, run
        run.start_ns = time_ns()
        return run

    def enter(self, context: Context) -> None:
        """Make it current in this context, for a run that begins."""
        if self._outer_context is not context:
            self._outer_context, self.context = context, Context({**context, _SPAN_KEY: self})
        assert self.context is not None
        token = attach(self.context)
        self.token = None if self._stays else token

    # The Span interface, for whoever asks for the current span.

    def get_span_context(self) -> SpanContext:
        """Context of its span; asked for by what becomes its child."""
        return self.resolve().get_span_context()

    def is_recording(self) -> bool:
        """Whether the span above is open."""
        return self.above.end_time is None

    def end(self, end_time: int | None = None) -> None:
        """End its span."""
        self.resolve().end(end_time)

    @property
    def name(self) -> str:
        """Name of the span it is, or would be."""
        return self.above.name if self.run is self else str(self.run.first.name)

    @property
    def kind(self) -> Any:
        """Kind of the span it is, or would be."""
        return self.above.kind if self.run is self else self.run.first.kind

    @property
    def attributes(self) -> Any:
        """Attributes of the span it is, or would be."""
        return self.above.attributes if self.run is self else (self.run.span or self.run.first).attributes


def begin(what: Any, role: Any) -> FoldedRun | None:
    """Begin a run of what has been `enlist`ed below the current span.

    Returns:
        The run, to be closed; None where it has to be a span, or may be `enlist`ed.
    """
    context = get_current()
    cursor: Any = context.get(_SPAN_KEY)
    if type(cursor) is not RunCursor:
        return _begin_below(cursor, what, role, context)
    outer = cursor.run
    run: FoldedRun | None = outer.runs.get(id(what))
    if (
        run is None
        or run.what is not what
        or run.role is not role
        or cursor.thread != get_ident()
        or cursor.above.end_time is not None
        or (context is not cursor.context and context.get(SUPPRESS))
    ):
        return None
    run.outer, cursor.run = outer, run
    run.start_ns = time_ns()
    return run


def _begin_below(above: Any, what: Any, role: Any, context: Context) -> FoldedRun | None:
    cursor = above.runs if type(above) is LightSpan else None
    if cursor is None or cursor.run is not cursor:
        return None
    run: FoldedRun | None = cursor.runs.get(id(what))
    if run is None or run.what is not what or run.role is not role or not cursor.is_free_in(context):
        return None
    cursor.enter(context)
    return cursor.begin(run)  # type: ignore[no-any-return]


def enlist(what: Any, role: Any, key: Any, attributes: StaticAttributes, name: str) -> FoldedRun | None:
    """`begin` the first run of what is folded below the current span already.

    Args:
        what: by which it is known from now on, by identity.
        role: the part it plays.
        key: what equal spans fold by.
        attributes: those of the span it may become.
        name: its name.
    """
    context = get_current()
    found: Any = context.get(_SPAN_KEY)
    above: Any
    if type(found) is LightSpan:
        cursor, outer, above = found.runs, found.runs, found
    elif type(found) is RunCursor:
        cursor, outer = found, found.run
        above = outer.span or outer
    else:
        return None
    folds = above.folds if type(above) is LightSpan else above.first.folds
    first = None if folds is None else folds.get(key)
    if first is None or first.pipeline.starters:
        return None
    if cursor is None:
        stays = found.instrumentation_scope is first.instrumentation_scope
        found.runs = cursor = outer = RunCursor(found, stays=stays)
    if cursor.run is not outer or not cursor.is_free_in(context):
        return None
    run: FoldedRun | None = first.run
    if run is None or run.cursor is not cursor or run.above is not above or run.called != name:
        # Each template of a group has its own, below each run that it is part of.
        first.run = run = FoldedRun(cursor, above, first, name)
    folding.note_unequal(first, key, name)
    if len(outer.runs) < first.pipeline.max_folds:
        outer.runs[id(what)] = run
    run.what, run.role, run.key, run.attributes = what, role, key, attributes
    if found is not cursor:
        cursor.enter(context)
    return cursor.begin(run)  # type: ignore[no-any-return]


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
        stands, key = run.first, run.key
        folding.uncount_repeat(stands, took_ns)
        moved = _below(span, stands, run, end_ns - took_ns)
        _move(inside, stands, moved)
        moved.end_time = end_ns
        folding.fold(moved, span, key)
