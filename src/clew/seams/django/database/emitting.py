"""The span of a query, made when it is over: below the current one, or one more run of the equal that waits there."""

from __future__ import annotations

from time import time_ns
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, get_current_span
from opentelemetry.trace.propagation import _SPAN_KEY

from clew import attributes as names
from clew import span_names
from clew.seams.django.database.attributes import batch_attributes, own_attributes, static_attributes, status_code
from clew.seams.django.database.recurring import remember
from clew.spans import folding
from clew.spans.folded_run import RunCursor
from clew.spans.identity import StaticAttributes
from clew.spans.leaf import Kind, leave
from clew.spans.light_span import LightSpan
from clew.spans.scope import Scope, outlived
from clew.story import findings
from clew.story.query import Query


def emit(scope: Scope, query: Query, error: BaseException | None) -> None:
    """Make the span of a query that is over."""
    parent: Any = query.context.get(_SPAN_KEY)
    if type(parent) is RunCursor:
        parent = parent.resolve()
    if type(parent) is LightSpan and parent.end_time is None:
        if error is not None or not _is_left_below(scope, query, parent):
            _open_below(scope, query, parent, parent, error)
        return
    parent = get_current_span(query.context)
    if not parent.is_recording():
        parent = outlived(parent)
        if parent is not None:
            _open_below(scope, query, parent, None, error)  # nothing waits in one that has ended
        return
    waits_in = None
    if isinstance(parent, ReadableSpan):
        waits_in = folding.foreign_parent(query.local, parent.get_span_context())
    if waits_in is None or error is not None or not _is_repeat(query, waits_in, _key(query)):
        _open_below(scope, query, parent, waits_in, error)


def _key(query: Query) -> Any:
    # The name, too: a site may change it in place, one tenant after the other.
    return (query.statement.fingerprint, query.alias, query.site, query.connection.settings_dict.get("NAME"))


def _is_repeat(query: Query, waits_in: Any, key: Any) -> bool:
    """Whether it is one more run of an equal that waits there; then it is counted."""
    first = waits_in.folds.get(key) if waits_in.folds else None
    if first is None:
        return False
    folding.count_repeat(first, query.duration_ns)
    query.span = first
    if query.rows > 0:
        first.add(names.DB_RESPONSE_RETURNED_ROWS, query.rows)
    return True


def _is_left_below(scope: Scope, query: Query, parent: LightSpan) -> bool:
    """Make a leaf of a query that has not failed, or count it; False: it has to be a span as any other."""
    key = _key(query)
    if parent.folds and _is_repeat(query, parent, key):
        if query.sql:
            remember(query, query.sql, query.span, parent)
        return True
    if query.is_many:
        return False
    end_ns = time_ns()
    static = static_attributes(query, parent)
    name = _name(query)
    like = static.leaves
    if like is None or like.name is not name:
        like = static.leaves = Kind(scope.instrumentation_scope, name, SpanKind.CLIENT, static)
    query.span = leave(parent, key, like, own_attributes(query), end_ns - query.duration_ns, end_ns)
    return query.span is not None


def _name(query: Query) -> str:
    statement = query.statement
    return statement.full_name if span_names.State.are_full else statement.span_name


def _open_below(scope: Scope, query: Query, parent: Any, waits_in: Any, error: BaseException | None) -> None:
    end_ns = time_ns()
    static: StaticAttributes | None = None
    if query.is_many:
        own = batch_attributes(query, static_attributes(query, parent))
    else:
        own, static = own_attributes(query), static_attributes(query, parent)
    start_ns = end_ns - query.duration_ns
    span = scope.under(parent, _name(query), own, SpanKind.CLIENT, query.context, start_ns=start_ns, static=static)
    if span is None:
        return
    query.span = span
    is_waiting = waits_in is not None or (query.findings and not query.local.is_over)
    if error is not None or type(span) is not LightSpan or not is_waiting:
        _close(span, query, error)
        return
    span.end_time = end_ns
    if waits_in is not None:
        span.above = waits_in
        folding.fold(span, waits_in, _key(query))
    else:
        # Below a phase of a middleware it folds with nothing; what it says may grow until the root ends.
        query.local.at_end.append(span.finish)


def _close(span: Any, query: Query, error: BaseException | None) -> None:
    for finding in query.findings:
        findings.attach(span, finding)
    if error is not None and (code := status_code(error)):
        span.note(names.DB_RESPONSE_STATUS_CODE, code)
    span.close(error)
