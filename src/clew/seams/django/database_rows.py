"""How many rows a query returned: what the driver says at once, else what Django reads.

SQLite and server-side cursors do not know before the last row is read. Those are counted in `SQLCompiler.execute_sql`,
which every queryset is read through; the rows themselves are not looked at.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import GeneratorType
from typing import Any

from clew import attributes as names
from clew.core.detector import hub
from clew.core.light_span import LightSpan
from clew.core.query import Query, running
from clew.engine import isolation
from clew.engine.seam import Patch, like


def _note(query: Query, rows: int) -> None:
    query.rows = rows
    span, queries = query.span, query.local.queries
    if type(span) is LightSpan:
        # A span that waits in its parent to be folded; one that has been handed over belongs to the exporter.
        if span.above is not None:
            held = span._attributes
            held[names.DB_RESPONSE_RETURNED_ROWS] = held.get(names.DB_RESPONSE_RETURNED_ROWS, 0) + rows
    elif span is not None and query.taken_by is None:
        span.note(names.DB_RESPONSE_RETURNED_ROWS, rows)
    if queries is not None:
        if rows < hub.many_rows:
            queries.rows += rows
        else:
            queries.count_rows(query, rows)


def _counted(chunks: Any, query: Query) -> Iterator[Any]:
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


def _read(result: Any, query: Query) -> Any:
    kind = type(result)
    try:
        if kind is list:
            _note(query, len(result[0]) if len(result) == 1 else sum(map(len, result)))
        elif kind is tuple or result is None:
            _note(query, 0 if result is None else 1)
        elif kind is GeneratorType:
            query.is_chunked = True
            return _counted(result, query)
    except Exception as ours:  # noqa: BLE001 - ours must not reach the application
        isolation.report(ours, __name__)
    return result


def _wrap_execute_sql(original: Any) -> Any:
    # Its own signature, the same in every Django: passing *args on would cost each query as much as counting it.
    def execute_sql(self: Any, result_type: Any = "multi", chunked_fetch: Any = False, chunk_size: Any = 100) -> Any:
        __traceback_hide__ = True
        result = original(self, result_type, chunked_fetch, chunk_size)
        query = running.query
        if query is None:
            return result
        running.query = None
        if query.rows >= 0 or not query.statement.is_select or query.connection is not self.connection:
            return result
        return _read(result, query)

    return like(original, execute_sql)


PATCH = Patch("django.db.models.sql.compiler", "SQLCompiler.execute_sql", _wrap_execute_sql)
