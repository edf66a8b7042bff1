"""Queries of an unsampled request: counted, and no more, until one of them deserves a look.

What is found there goes into the metric `clew.findings`. Three microseconds a query is all this may cost, so what a
recorded query is made of (an object, its line, its span) is left out; a query whose text is new, that writes, that
reads after a write, or that has come often enough goes the long way.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

from clew.core.detector import hub
from clew.core.local_trace import LocalTrace
from clew.core.query import Query, Repeats
from clew.core.statement import KNOWN_FROM_ORM, KNOWN_RAW, KNOWN_WITH_PARAMETERS
from clew.engine import isolation


def repeats_of(local: LocalTrace, cursor: Any, sql: Any) -> Repeats | None:
    """Count a query, if counting is enough; None: it goes the long way, and has not been counted."""
    queries = local.queries
    if queries is None or queries.written or type(sql) is not str:
        return None
    statement = KNOWN_FROM_ORM.get(sql) or KNOWN_WITH_PARAMETERS.get(sql) or KNOWN_RAW.get(sql)
    if statement is None or not statement.is_select or not cursor.db.autocommit:
        return None
    return queries.count_only(cursor.db.alias, statement)


def run_counted(repeats: Repeats, local: LocalTrace, cursor: Any, run: Any, args: tuple[Any, ...]) -> Any:
    """Run a counted query.

    Args:
        repeats: what it was counted among.
        local: the request or task.
        cursor: Django's cursor.
        run, args: the call; it is made once, and its result or error is the caller's.
    """
    __traceback_hide__ = True
    started_ns = perf_counter_ns()
    try:
        return run(cursor, *args)
    finally:
        took_ns = perf_counter_ns() - started_ns
        repeats.duration_ns += took_ns
        repeats.log.duration_ns += took_ns
        if took_ns >= hub.slow_ns or (hub.many_rows != hub.never and cursor.cursor.rowcount >= hub.many_rows):
            _tell(repeats, local, cursor, took_ns)


def _tell(repeats: Repeats, local: LocalTrace, cursor: Any, took_ns: int) -> None:
    try:
        query = Query(local, repeats.statement, cursor.db, None, False, None)
        query.repeats, query.duration_ns, query.rows = repeats, took_ns, cursor.cursor.rowcount
        for on_slow in hub.on_slow if took_ns >= hub.slow_ns else ():
            on_slow(query)
        for on_rows in hub.on_rows if query.rows >= hub.many_rows else ():
            on_rows(query)
    except Exception as ours:  # noqa: BLE001 - ours must not reach the application
        isolation.report(ours, __name__)
