"""Equal siblings become one span: 500 includes of one template are one line with a count, and so are their partials.

Equal is, below one parent, what has the same key and nothing under it but spans that were folded themselves. The first
waits in its parent until that ends, and stands for the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clew import attributes as names

if TYPE_CHECKING:
    from clew.core.light_span import LightSpan

# What is the folded span's when it is taken together.
_SUMMED = (names.DB_RESPONSE_RETURNED_ROWS, names.DJANGO_TEMPLATE_QUERY_COUNT)


def again(first: LightSpan, parent: LightSpan, took_ns: int, end_ns: int) -> None:
    """An equal of `first` below `parent` came and went; it was never a span."""
    first._folded += 1
    first._folded_ns += took_ns
    first._folded_last_ns = took_ns
    first._end_time = end_ns
    parent._children += 1


def is_foldable(span: LightSpan) -> bool:
    """Whether everything that was opened below `span` was folded, and nothing was said on it."""
    folds = span._folds
    below = sum([each._folded for each in folds.values()]) if folds else 0
    said = span._events or span._links or span._is_touched
    return span._children == below and not said and span.has_no_status


def fold(span: LightSpan, parent: LightSpan, key: Any) -> None:
    """Put an ended span to its equals below `parent`."""
    took = span.elapsed_ns
    folds = parent._folds
    if folds is None:
        folds = parent._folds = {}
    first = folds.get(key)
    if first is not None:
        _merge(first, 1, took, span)
    elif len(folds) < span._pipeline.max_folds:
        span._folded, span._folded_ns, span._folded_first_ns = 1, took, took
        folds[key] = span
    else:
        span._finish()


def _merge(first: LightSpan, count: int, took_ns: int, other: LightSpan) -> None:
    first._folded += count
    first._folded_ns += took_ns
    first._end_time = other._end_time
    first._folded_last_ns = other._folded_last_ns or took_ns
    if other._findings:
        first._findings = (*first._findings, *other._findings)
    for name in _SUMMED:
        if name in other._attributes:
            first._attributes[name] = first._attributes.get(name, 0) + other._attributes[name]
    if other._folds:
        _take(first, other._folds)
    other._give_back()


def _take(span: LightSpan, others: dict[Any, LightSpan]) -> None:
    folds = span._folds
    if folds is None:
        folds = span._folds = {}
    for key, other in others.items():
        first = folds.get(key)
        if first is not None:
            _merge(first, other._folded, other._folded_ns, other)
        elif len(folds) < span._pipeline.max_folds:
            other._parent = span._context or span._identified()
            folds[key] = other
        else:
            other._give_back()


def finish(folds: dict[Any, LightSpan]) -> None:
    """The parent has ended: so do those that waited in it, with their counts."""
    for span in folds.values():
        if span._folded > 1:
            span.note(names.CLEW_FOLDED_COUNT, span._folded)
            span.note(names.CLEW_FOLDED_DURATION_MS, span._folded_ns / 1e6)
            if span._folded_last_ns:
                span.note(names.CLEW_FOLDED_FIRST_MS, span._folded_first_ns / 1e6)
                span.note(names.CLEW_FOLDED_LAST_MS, span._folded_last_ns / 1e6)
        span._finish()
