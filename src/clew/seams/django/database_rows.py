"""How many rows a query returned: what the driver says at once, else what Django reads.

SQLite and server-side cursors do not know before the last row is read. Those are counted in `SQLCompiler.execute_sql`,
which every queryset is read through; the rows themselves are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import GeneratorType
from typing import Any

from clew import attributes as names
from clew.core import isolation
from clew.core.light_span import LightSpan
from clew.core.query import Query, running
from clew.core.seam import Patch, like


def row_count(cursor: Any, query: Query) -> int:
    """Rows the driver says a SELECT returned; -1 where it cannot say."""
    if not query.statement.is_select:
        return -1
    rows = getattr(cursor.cursor, "rowcount", -1)
    if type(rows) is not int or rows < 0:
        running.unread = query
        return -1
    return rows


def _note(query: Query, rows: int) -> None:
    query.rows = rows
    span = query.span
    if type(span) is LightSpan:
        # A span that waits in its parent to be folded; one that has been handed over belongs to the exporter.
        if span.above is not None:
            held = span._attributes
            held[names.DB_RESPONSE_RETURNED_ROWS] = held.get(names.DB_RESPONSE_RETURNED_ROWS, 0) + rows
    elif span is not None and query.taken_by is None:
        span.note(names.DB_RESPONSE_RETURNED_ROWS, rows)
    queries = query.local.queries
    if queries is not None:
        queries.count_rows(query, rows)


def _counted(chunks: Any, query: Query) -> Iterator[Any]:
    total = 0
    try:
        for rows in chunks:
            total += len(rows)
            yield rows
    finally:
        chunks.close()
        _isolated(query, total)


def _isolated(query: Query, rows: int) -> None:
    try:
        _note(query, rows)
    except Exception as ours:  # noqa: BLE001 - ours must not reach the application
        isolation.report(ours, __name__)


def _read(result: Any, query: Query) -> Any:
    kind = type(result)
    if kind is list:
        _isolated(query, sum(map(len, result)))
    elif kind is tuple or result is None:
        _isolated(query, 0 if result is None else 1)
    elif kind is GeneratorType:
        query.is_chunked = True
        return _counted(result, query)
    return result


def _wrap_execute_sql(original: Any) -> Any:
    def execute_sql(self: Any, *args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True
        running.unread = None
        result = original(self, *args, **kwargs)
        query = running.unread
        if query is None:
            return result
        running.unread = None
        return _read(result, query)

    return like(original, execute_sql)


PATCH = Patch("django.db.models.sql.compiler", "SQLCompiler.execute_sql", _wrap_execute_sql)
