"""How many rows a query returned: what the driver says at once, else what Django reads.

SQLite and server-side cursors do not know before the last row is read. Those are counted in `SQLCompiler.execute_sql`,
which every queryset is read through; the rows themselves are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import GeneratorType
from typing import Any, Final

from clew import attributes as names
from clew.engine import isolation
from clew.engine.seam import Patch
from clew.engine.wrapper import Around
from clew.engine.wrapper_steps import invisible
from clew.spans.leaf import Leaf
from clew.spans.light_span import LightSpan
from clew.story import local_trace
from clew.story.detector import watchers
from clew.story.query import Query, running

_ROWS: Final = names.DB_RESPONSE_RETURNED_ROWS


def _note(query: Query, rows: int) -> None:
    query.rows = rows
    span, queries = query.span, query.local.queries
    if type(span) is Leaf or type(span) is LightSpan:
        # A span that waits in its parent to be folded; one that has been handed over belongs to the exporter.
        if span.above is not None:
            held = span.held
            held[_ROWS] = held.get(_ROWS, 0) + rows
    elif span is not None and query.taken_by is None:
        span.note(_ROWS, rows)
    if queries is not None:
        if rows < watchers.many_rows:
            queries.rows += rows
        else:
            query.count_rows(queries)


@invisible
def _counted(chunks: Any, query: Query) -> Iterator[Any]:
    __traceback_hide__ = True
    total = 0
    try:
        for rows in chunks:
            total += len(rows)
            yield rows
    finally:
        chunks.close()
        try:
            _note(query, total)
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, __name__)


def _read(compiler: Any, /, result: Any) -> Any:
    local = local_trace.current()
    if local is None:
        query = running.query
        if query is None or query.local.queries.unread is not query:  # type: ignore[union-attr]
            return result
    else:
        queries = local.queries
        if queries is None or (query := queries.unread) is None:
            return result  # these are the rows of one that was only counted
    if query.rows >= 0 or query.is_chunked or query.connection is not compiler.connection:
        return result
    if not query.statement.is_select:
        return result
    kind = type(result)
    if kind is list:
        _note(query, len(result[0]) if len(result) == 1 else sum(map(len, result)))
    elif kind is tuple or result is None:
        _note(query, 0 if result is None else 1)
    elif kind is GeneratorType:
        query.is_chunked = True
        query.local.of_queries().known.clear()
        return _counted(result, query)
    return result


COMPILER = "django.db.models.sql.compiler"
PATCH = Patch(COMPILER, "SQLCompiler.execute_sql", Around(replace=_read))
