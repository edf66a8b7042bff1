"""Equal siblings become one span: 500 includes of one template are one line with a count, and so are their partials.

Equal is, below one parent, what has the same key and nothing under it but spans that were folded themselves. The first
waits in its parent until that ends, and stands for the others.
"""

from __future__ import annotations

from time import time_ns
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanContext, get_current_span

from clew import attributes as names
from clew.spans import local_spans
from clew.spans.folded import Folded
from clew.spans.identity import StaticAttributes
from clew.spans.light_span import LightSpan
from clew.spans.local_spans import LocalSpans

_MAX_FOREIGN = 500
# What is the folded span's when it is taken together.
_SUMMED = (names.DB_RESPONSE_RETURNED_ROWS, names.DJANGO_TEMPLATE_QUERY_COUNT, names.DJANGO_TEMPLATE_LOAD_MS)


class ForeignParent:
    """A span that is not clew's, as far as clew's wait in it: what folding asks of a parent.

    Args:
        context: its own.
    """

    __slots__ = ("children", "context", "error_below", "folds", "span_id")

    def __init__(self, context: SpanContext) -> None:
        self.context = context
        self.span_id = context.span_id.to_bytes(8, "big")
        self.folds: dict[Any, LightSpan] | None = None
        self.children = self.error_below = 0


def foreign_parent(local: LocalSpans | None, context: SpanContext | None) -> ForeignParent | None:
    """Where spans wait that are below a span that is not clew's; None: they do not."""
    if local is None or local.is_over or context is None or not context.trace_flags & 1:
        return None
    if local.foreign is None:
        local.foreign = {}
    found: ForeignParent | None = local.foreign.get(context.span_id)
    if found is None and len(local.foreign) < _MAX_FOREIGN:
        found = local.foreign[context.span_id] = ForeignParent(context)
    return found


def end_foreign(local: LocalSpans, span_id: int | None = None) -> list[LightSpan]:
    """A span that is not clew's has ended (None: the root): what waits in it is ended.

    Returns:
        What has a finding on it that may still grow, and waits on.
    """
    if not local.foreign:
        return []
    if span_id is None:
        ended, local.foreign = list(local.foreign.values()), None
    else:
        ended = [local.foreign.pop(span_id)] if span_id in local.foreign else []
    growing = []
    for parent in ended:
        for span in (parent.folds or {}).values():
            if span.findings and span_id is not None:
                growing.append(span)
            else:
                span.finish_folded()
    return growing


class FoldGroup:
    """A key of siblings that fold although they are not equal, as a library's templates do.

    Args:
        name: what they are called together.
        static: what they have in common.
    """

    __slots__ = ("name", "static")

    def __init__(self, name: str, static: StaticAttributes) -> None:
        self.name, self.static = name, static


def close_folded(span: Any, parent: Any, key: Any, error: BaseException | None = None) -> None:
    """End a span a seam has opened; equal siblings (same `key`) below a light `parent` become one. The SDK's do not."""
    is_light = error is None and type(span) is LightSpan
    if is_light and parent is None:
        span.restore()
        outer = get_current_span()
        if isinstance(outer, ReadableSpan) and outer.get_span_context() == span.parent_context:
            parent = span.above = foreign_parent(local_spans.current(), span.parent_context)
    elif is_light and not (isinstance(parent, LightSpan) and parent.is_recording()):
        parent = None
    if not is_light or parent is None or not is_foldable(span):
        span.close(error)
        return
    span.restore()
    span.end_time = time_ns()
    fold(span, parent, key)


def has_equal(span: Any, key: Any) -> bool:
    """Whether an open span will fold into an equal one: then nobody will see what it says."""
    above = span.above
    return type(above) is LightSpan and above.folds is not None and key in above.folds and is_foldable(span)


def close_equal(span: LightSpan, key: Any) -> None:
    """End an open span that `has_equal`, and that nothing has been said on."""
    first = span.above.folds[key]
    if span.folds or span.findings or span.held or span.static is not None:
        close_folded(span, span.above, key)
        return
    span.restore()
    span.end_time = time_ns()
    count_repeat(first, span.end_time - span.start_time)
    first.end_time = span.end_time
    span.above.children -= 1
    span.give_back()


def folded_in(first: LightSpan) -> Folded:
    """What an ended span that waits in its parent counts of its equals; made when the first of them comes."""
    folded = first.folded
    if folded is None:
        folded = first.folded = Folded(first.elapsed_ns)
    return folded


def count_repeat(first: LightSpan, took_ns: int) -> None:
    """An equal of `first` came and went; it was never a span."""
    folded = folded_in(first)
    folded.count += 1
    folded.total_ns += took_ns
    folded.last_ns = took_ns


def uncount_repeat(first: LightSpan, took_ns: int) -> None:
    """What has been counted belongs elsewhere."""
    folded = first.folded
    if folded is not None:
        folded.count -= 1
        folded.total_ns -= took_ns


def wait(span: LightSpan, error: BaseException | None = None) -> None:
    """A span is over, but does not end until `end_waiting`: whoever keeps it has it stand for its equals."""
    if error is not None:
        span.fail(error)
    span.restore()
    span.end_time = time_ns()
    if span.folded is None:
        span.folded = Folded(span.elapsed_ns)
    else:  # others, in other threads, were faster
        span.folded.count += 1
        span.folded.total_ns += span.elapsed_ns


def stand_for(first: LightSpan, span: LightSpan) -> None:
    """An open span, of nobody's interest but its time, is over; another stands for it."""
    span.restore()
    span.end_time = time_ns()
    took_ns = span.elapsed_ns
    if first.folded is None:
        first.folded = Folded(took_ns)
        return
    first.folded.count += 1
    first.folded.total_ns += took_ns
    first.folded.last_ns = took_ns


def stands_for_others(span: LightSpan) -> bool:
    """Whether it stands for more than itself."""
    return span.folded is not None and (span.folded.count > 1 or span.is_recording())


def end_waiting(span: LightSpan) -> None:
    """End a span that has waited."""
    span.finish_folded()


def is_foldable(span: LightSpan) -> bool:
    """Whether everything that was opened below `span` was folded, and nothing was said on it."""
    said = span.events or span.links or span.is_touched
    return span.children == (len(span.folds) if span.folds else 0) and not said and span.has_no_status


def fold(span: LightSpan, parent: LightSpan | ForeignParent, key: Any) -> None:
    """Put an ended span to its equals below `parent`."""
    folds = parent.folds
    if folds is None:
        folds = parent.folds = {}
    first = folds.get(key)
    if first is not None:
        note_unequal(first, key, span.name)
        parent.children -= 1
        _merge(first, folded_in(span), span)
    elif len(folds) < span.pipeline.max_folds:
        folds[key] = span
    else:
        span.finish()


def note_unequal(first: LightSpan, key: Any, name: str) -> None:
    """One of that name folds into `first`, which from now on may have to be called after their group."""
    if type(key) is FoldGroup and first.name != name:
        folded_in(first).group = key


def _merge(first: LightSpan, more: Folded, other: LightSpan) -> None:
    folded = folded_in(first)
    folded.count += more.count
    folded.total_ns += more.total_ns
    folded.last_ns = more.last_ns or more.total_ns
    folded.group = folded.group or more.group
    first.end_time = other.end_time
    if other.findings:
        for finding in other.findings:
            finding.span = first
        first.findings = (*first.findings, *other.findings)
    for name in _SUMMED:
        if name in other.held:
            first.add(name, other.held[name])
    if other.folds:
        _take(first, other.folds)
    other.give_back()


def _take(span: LightSpan, others: dict[Any, LightSpan]) -> None:
    folds = span.folds
    if folds is None:
        folds = span.folds = {}
    for key, other in others.items():
        first = folds.get(key)
        if first is not None:
            note_unequal(first, key, other.name)
            _merge(first, folded_in(other), other)
        elif len(folds) < span.pipeline.max_folds:
            other.above = span
            folds[key] = other
        else:
            other.give_back()
