"""Queries of an unsampled request: counted, and no more, until one of them deserves a look.

What is found there goes into the metric `clew.findings`. Three microseconds a query is all this may cost, so what a
recorded query is made of (an object, its line, its span) is left out; a query whose text is new, that writes, that
reads after a write, or that has come often enough goes the long way.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

from clew.sql.statement import KNOWN_FROM_ORM, KNOWN_RAW, KNOWN_WITH_PARAMETERS
from clew.story import local_trace
from clew.story.detector import watchers
from clew.story.local_trace import LocalTrace
from clew.story.queries import Repeats
from clew.story.query import Query

_MAX_KNOWN = 200


def count(local: LocalTrace, cursor: Any, sql: Any, params: Any) -> Repeats | None:
    """Count a query that is about to be run, if counting is enough; None: it goes the long way, and is not counted."""
    queries = local.queries
    if queries is None or queries.written or type(sql) is not str:
        return None
    statement = KNOWN_FROM_ORM.get(sql) or KNOWN_WITH_PARAMETERS.get(sql) or KNOWN_RAW.get(sql)
    connection = cursor.db
    if statement is None or not statement.is_select or not connection.autocommit:
        return None
    repeats = queries.count_only(connection.alias, statement, params)
    if repeats is None:
        return None
    if not repeats.looks_left and len(queries.known) < _MAX_KNOWN:
        repeats.connection = connection
        queries.known[sql] = repeats
    queries.unread = None
    repeats.start_ns = perf_counter_ns()
    return repeats


def tell(repeats: Repeats, cursor: Any, took_ns: int) -> None:
    """Tell the detectors of a counted query that was slow, or has many rows."""
    local = local_trace.current() or local_trace.of_current_span()
    if local is None:
        return
    query = Query(local, repeats.statement, cursor.db, cursor.db.alias, None, None, is_many=False)
    query.repeats, query.duration_ns, query.rows = repeats, took_ns, cursor.cursor.rowcount
    for on_slow in watchers.on_slow if took_ns >= watchers.slow_ns else ():
        on_slow(query)
    for on_rows in watchers.on_rows if query.rows >= watchers.many_rows else ():
        on_rows(query)
