"""`SELECT auth_user`: every query, with the line of the application, or of the template, that ran it.

We stand at `CursorWrapper._execute_with_wrappers`, outside the application's own `execute_wrappers`: every query of
every connection comes by there (any thread, opened before us, from a pool, server-side cursors, `executemany`), and
nothing is added to the list that applications and Django's own tests compare. Where a driver instrumentation makes a
span of the query, that one is annotated (processors/detect.py) and there is none of ours.
"""

from __future__ import annotations

import sys
from asyncio import _get_running_loop
from time import perf_counter_ns
from typing import Any

from opentelemetry.trace.propagation import _SPAN_KEY

from clew import attributes as names
from clew.engine import needs
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.django.database import rows as database_rows
from clew.seams.django.database.attributes import statement_of
from clew.seams.django.database.counting import count, tell
from clew.seams.django.database.emitting import emit
from clew.seams.django.database.recurring import Recurring
from clew.seams.django.transaction import queries as transaction_queries
from clew.source import call_site
from clew.source.frames import THIRD_PARTY, kind_of
from clew.spans.current import SUPPRESS, get_current
from clew.spans.scope import Scope
from clew.sql.statement import KNOWN_FROM_ORM
from clew.story import findings, local_trace
from clew.story.detector import watchers
from clew.story.local_trace import LocalTrace
from clew.story.queries import Repeats
from clew.story.query import Query, running

SCOPE = Scope(__name__)
# Of the caller of Django's cursor, below `_opened`.
_DEPTH = 3


def _open(cursor: Any, /, sql: Any, params: Any, many: Any) -> Query | Recurring | Repeats | None:
    local = local_trace.current() or local_trace.of_current_span()
    if local is None:
        return None
    queries = local.queries
    if queries is not None and type(sql) is str:
        known = queries.known.get(sql)
        if known is not None:
            connection = cursor.db
            if type(known) is Repeats:
                if known.connection is connection and connection.autocommit:
                    known.count += 1
                    queries.count += 1
                    queries.unread = None
                    known.start_ns = perf_counter_ns()
                    return known
            elif known.begins(connection, params, many):
                return known  # type: ignore[no-any-return]
    return _opened(local, cursor, sql, params, many)


def _open_call(cursor: Any, /, procname: Any) -> Query | Recurring | Repeats | None:
    local = local_trace.current() or local_trace.of_current_span()
    if local is None:
        return None
    name = str.__str__(procname) if issubclass(type(procname), str) else ""
    return _opened(local, cursor, f"CALL {name}()", ("",), many=False)


def _opened(local: LocalTrace, cursor: Any, sql: Any, params: Any, many: Any) -> Query | Repeats | None:
    if not local.is_recording and (counted := count(local, cursor, sql, params)) is not None:
        return counted
    context = get_current()
    if context.get(SUPPRESS):
        return None
    caller = sys._getframe(_DEPTH)
    statement = KNOWN_FROM_ORM.get(sql) if type(sql) is str else None
    if statement is None:
        statement = statement_of(sql, params, cursor, caller)
    connection = cursor.db
    if statement.is_control and _is_djangos(caller):
        return None
    query = Query(local, statement, connection, connection.alias, params, caller, is_many=many)
    queries = local.queries or local.of_queries()
    if not connection.autocommit:
        query.transaction = transaction_queries.begun(connection, statement, caller)
    query.repeats = repeats = queries.seen(query.alias, statement, params)
    query.count, queries.unread = repeats.count, query
    if query.count >= watchers.look_from and (local.is_recording or queries.is_worth_a_look(repeats)):
        query.look(repeats)
    if local.is_recording:
        query.context = context
        if query.site is None:
            barren = call_site.barren_frame(context.get(_SPAN_KEY))
            query.site, statement.trail = call_site.site_by_trail(caller, _DEPTH, statement.trail, barren)
        if query.count == 1:
            repeats.first_site = query.site
        elif query.place is not None and type(sql) is str:
            if query.place.is_settled and sql == repeats.text:
                query.sql = sql
            repeats.text = sql
    if _get_running_loop() is not None:
        for on_loop_query in watchers.on_loop_query:
            on_loop_query(query)
    running.query = query
    query.start_ns = perf_counter_ns()
    return query


def _is_djangos(frame: Any) -> bool:
    """Whether the transaction statement is Django's own: then the transaction seam shows it."""
    for _ in range(6):
        frame = frame.f_back
        if frame is None:
            return False
        module = frame.f_globals.get("__name__", "")
        # Between them are the wrappers of others: cachalot, the debug toolbar.
        if not module.startswith(("django.db.backends.utils", "clew.")) and kind_of(frame) != THIRD_PARTY:
            return bool(module.startswith("django.db."))
    return False


def _close(cursor: Any, /, opened: Query | Recurring | Repeats, error: BaseException | None) -> None:
    if type(opened) is Query:
        _end(opened, cursor, error)
    elif type(opened) is Repeats:
        took_ns = perf_counter_ns() - opened.start_ns
        opened.duration_ns += took_ns
        if took_ns >= watchers.slow_ns or cursor.cursor.rowcount >= watchers.many_rows:
            tell(opened, cursor, took_ns)
    elif not opened.ends(cursor, error):  # type: ignore[union-attr]
        _end(opened.as_any_other(sys._getframe(2)), cursor, error)  # type: ignore[union-attr]


def _end(query: Query, cursor: Any, error: BaseException | None) -> None:
    query.duration_ns = perf_counter_ns() - query.start_ns
    query.is_over = True
    local, statement = query.local, query.statement
    if error is not None:
        query.error = error
    elif statement.is_select:
        query.rows = cursor.cursor.rowcount
        query.parameter_count = len(query.params) if type(query.params) in (tuple, list) else 0
    elif statement.is_write:
        query.affected = cursor.cursor.rowcount
        # What gives rows back has not counted them yet.
        query.has_written = query.affected != 0 or "RETURNING" in statement.fingerprint
    if query.transaction is not None:
        transaction_queries.count(query.transaction, query, error)
    if query.context is not None and query.taken_by is None:
        emit(SCOPE, query, error)
    if local.queries is not None:
        query.end(local.queries)
    if query.findings and query.span is not None:
        for finding in query.findings:
            if not finding.is_placed:
                findings.attach(query.span, finding)
    query.frame = query.params = query.context = query.transaction = None


def _note_connection() -> None:
    local = local_trace.current()
    if local is not None:
        local.of_queries().connections_opened += 1


def _note_routed(router: Any, /, model: Any, keywords: dict[str, Any], result: Any) -> None:
    """The site's routers have said where a model is written; one that is asked again might say something else."""
    if not vars(router).get("routers") or (local := local_trace.current()) is None:
        return
    instance = keywords.get("instance")
    if instance is None or instance._state.db != result:  # else it may only stay where it came from
        local.of_queries().routed[model._meta.db_table] = result


_CURSOR, _CONNECTION = "django.db.backends.utils", "django.db.backends.base.base"
SEAM = Seam(
    "django.database",
    patches=(
        Patch(_CURSOR, "CursorWrapper._execute_with_wrappers", Around(_open, close=_close)),
        Patch(_CURSOR, "CursorWrapper.callproc", Around(_open_call, close=_close)),
        Patch(_CONNECTION, "BaseDatabaseWrapper.connect", Around(note=_note_connection)),
        Patch("django.db.utils", "ConnectionRouter.db_for_write", Around(note=_note_routed)),
        database_rows.PATCH,
    ),
    needs=(
        *needs.attributes(_CURSOR, "CursorWrapper", "cursor", "db"),
        *needs.attributes(_CONNECTION, "BaseDatabaseWrapper", "alias", "autocommit", "settings_dict", "vendor"),
        *needs.attributes("django.db.utils", "ConnectionRouter", "routers"),
        *needs.attributes("django.db.models.base", "ModelState", "db"),
        *needs.attributes(database_rows.COMPILER, "SQLCompiler", "connection"),
    ),
    spans=(
        SpanDoc(
            "SELECT auth_user",
            "CLIENT",
            "a query; equal ones from the same line below one span are one span",
            (
                *(names.DB_SYSTEM_NAME, names.DB_NAMESPACE, names.DB_OPERATION_NAME, names.DB_OPERATION_BATCH_SIZE),
                *(names.DB_COLLECTION_NAME, names.DB_QUERY_TEXT, names.DB_QUERY_SUMMARY, names.DB_QUERY_PARAMETER),
                *(names.DB_RESPONSE_STATUS_CODE, names.DB_RESPONSE_RETURNED_ROWS, names.DJANGO_DB_ALIAS),
                *(names.SERVER_ADDRESS, names.SERVER_PORT),
                *names.CODE,
                names.CLEW_DB_PHASE,
                names.DJANGO_SIGNAL_RECEIVER,
            ),
        ),
    ),
)
