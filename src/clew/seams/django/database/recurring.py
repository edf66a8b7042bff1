"""A query that comes again from the same place, as its equal that waits in its parent: a clock and some counters.

After a few runs no detector has anything more to learn from a place (`Place.is_settled`), and what the next run would
say on a span is said already. All that is left to make sure of is that it is the same run again: the same text on the
same connection, below the same span, from the same lines. What is not plain (an error, a slow one, a driver
instrumentation's span) goes the long way.
"""

from __future__ import annotations

from time import perf_counter_ns
from typing import Any

from opentelemetry.trace.propagation import _SPAN_KEY

from clew import attributes as names
from clew.seams.django.transaction.queries import is_manual
from clew.source.route import Route, route_from
from clew.spans.current import get_current
from clew.spans.folded_run import RunCursor
from clew.spans.folding import folded_in
from clew.spans.light_span import LightSpan
from clew.story import transactions
from clew.story.detector import watchers
from clew.story.queries import Place
from clew.story.query import Query, running

# Of the caller of Django's cursor, below `begins`.
_DEPTH = 3
_MAX_KNOWN = 200


class Recurring:
    """One query that comes again and again.

    Args:
        query: its last run, over and folded; it stands for the next ones.
        place: where it was run.
        first: the span it was folded into.
        parent: the span below which that waits.
        route: the lines it came from.
    """

    __slots__ = (
        "_connection",
        "_context",
        "_cursor",
        "_first",
        "_folded",
        "_is_alone",
        "_name",
        "_parent",
        "_place",
        "_queries",
        "_repeats",
        "_route",
        "_transaction",
        "query",
    )

    def __init__(self, query: Query, place: Place, first: LightSpan, parent: LightSpan, route: Route) -> None:
        self.query, self._first, self._parent, self._route = query, first, parent, route
        self._connection, self._context, self._place = query.connection, query.context, place
        current = query.context.get(_SPAN_KEY)
        self._cursor = current if type(current) is RunCursor else None
        self._queries = query.local.of_queries()
        self._name = query.connection.settings_dict.get("NAME")
        self._transaction, self._is_alone = query.transaction, query.transaction is None
        self._repeats, self._folded = place.repeats, folded_in(first)

    def begins(self, connection: Any, params: Any, many: Any) -> bool:
        """Whether this is the same query again; then it has begun."""
        query, parent = self.query, self._parent
        if (
            connection is not self._connection
            or get_current() is not self._context
            or (self._cursor is not None and not self._cursor.is_at(parent))
            or self._first.above is not parent
            or parent.end_time is not None
            or not query.is_over
            or many
            or connection.settings_dict.get("NAME") != self._name
            or not (self._is_alone if connection.autocommit else self._is_in_same_transaction())
            or not self._route.is_taken(_DEPTH)
        ):
            return False
        queries = self._queries
        queries.count += 1
        queries.unread = query
        self._repeats.count += 1
        self._place.count += 1
        query.params, query.is_over, query.rows = params, False, -1
        running.query = query
        query.start_ns = perf_counter_ns()
        return True

    def _is_in_same_transaction(self) -> bool:
        connection, before = self._connection, self._transaction
        # Without one that is followed, this query may begin one.
        return transactions.open_on(connection) is before and (before is not None or not is_manual(connection))

    def ends(self, cursor: Any, error: BaseException | None) -> bool:
        """Take account of a plain run; False: it was none, and has to be told as any other."""
        query = self.query
        took_ns = perf_counter_ns() - query.start_ns
        rows = cursor.cursor.rowcount
        if error is not None or took_ns >= watchers.slow_ns or rows >= watchers.many_rows or query.taken_by is not None:
            return False
        query.is_over, query.params = True, None
        self._place.duration_ns += took_ns
        self._repeats.duration_ns += took_ns
        folded = self._folded
        folded.count += 1
        folded.total_ns += took_ns
        folded.last_ns = took_ns
        if self._transaction is not None:
            self._transaction.queries += 1
        if rows >= 0:
            query.rows = rows
            self._first.add(names.DB_RESPONSE_RETURNED_ROWS, rows)
            self._queries.rows += rows
        return True

    def as_any_other(self, frame: Any) -> Query:
        """The query, for what follows the long way; it recurs no more."""
        query = self.query
        self._queries.known.clear()
        query.frame, query.context, query.transaction, query.findings = frame, self._context, self._transaction, ()
        query.place, query.count, query.span = self._place, self._repeats.count, query.taken_by
        return query


def remember(query: Query, sql: str, first: LightSpan, parent: LightSpan) -> None:
    """Know a query again that was folded and is settled, if the next run may be like it."""
    queries, statement = query.local.queries, query.statement
    if queries is None or queries.written or not statement.is_select or statement.locks_rows or query.findings:
        return
    current = query.context.get(_SPAN_KEY)
    is_below = current is parent or (type(current) is RunCursor and current.is_at(parent))
    if len(queries.known) >= _MAX_KNOWN or query.is_many or not is_below:
        return
    if query.site is None or query.site.what:
        return  # told by whom a library works for, which is not on the way
    route = route_from(query.frame)
    if route is not None and query.place is not None:
        queries.known[sql] = Recurring(query, query.place, first, parent, route)
