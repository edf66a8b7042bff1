"""What a transaction has in it: its queries; and transactions that are begun without `atomic`.

With autocommit off (`set_autocommit(False)`, or `AUTOCOMMIT` in DATABASES) the database begins a transaction at the
first query and the application ends it; there is no block, so its span is not current while it lasts and is made when
it is over. The database seam tells us of each query, since a wrapper of our own would cost every query a microsecond.
"""

from __future__ import annotations

from time import time_ns
from typing import Any

from opentelemetry.trace import get_current_span

from clew import attributes as names
from clew.engine.redaction.exception_event import type_name
from clew.engine.seam import Patch
from clew.engine.wrapper import Around
from clew.seams.django.transaction import span as transaction_span
from clew.source.call_site import call_site
from clew.source.source_tree import steps_of
from clew.sql.statement import Statement
from clew.story import local_trace, transactions
from clew.story.query import Query
from clew.story.transactions import CLOSED, COMMIT_FAILED, COMMITTED, EXPLICIT, ROLLED_BACK, Transaction

_PARENT = "parent"


def is_manual(connection: Any) -> bool:
    """Whether a query begins a transaction that the application ends itself."""
    return not connection.autocommit and (not connection.in_atomic_block or not connection.commit_on_exit)


def begin_manual(connection: Any, frame: Any) -> Transaction:
    """Begin the transaction that this query or savepoint begins while autocommit is off."""
    local = local_trace.current() or local_trace.of_current_span()
    transaction = Transaction(connection.alias, local, call_site(frame), time_ns())
    transaction.is_manual = True
    transaction.memo[_PARENT] = get_current_span()
    transactions.hold(connection, transaction)
    return transaction


class Counting:
    """Whether transactions are followed; else the database seam asks nothing about them."""

    is_on = False


def begun(connection: Any, statement: Statement, frame: Any) -> Transaction | None:
    """The transaction a query is in that is about to be run, or begins."""
    transaction = transactions.open_on(connection)
    if transaction is None and Counting.is_on and not statement.is_control and is_manual(connection):
        return begin_manual(connection, frame)
    return transaction


def count(transaction: Transaction, query: Query, error: BaseException | None) -> None:
    """Take account of a query that has been run in a transaction."""
    statement = query.statement
    if error is not None:
        transaction.queries += 1
        transaction.failure = type_name(error)
        transaction.failed_in = steps_of(query.frame) if transaction.writes else ()
    elif not statement.is_control:
        transaction.queries += 1
        if query.has_written:
            if not transaction.writes:
                transaction.first_write = statement, query.params
            transaction.writes += 1
        elif statement.locks_rows and not transaction.locked_ns:
            transaction.locked_ns = time_ns()


def _end_manual(connection: Any, outcome: str, reason: str, error: BaseException | None) -> None:
    transaction = transactions.open_on(connection)
    if transaction is None or not transaction.is_manual:
        return
    parent = transaction.memo.pop(_PARENT)
    attributes: dict[str, Any] = {names.DJANGO_DB_ALIAS: transaction.alias}
    if transaction.site is not None:
        attributes.update(transaction.site.attributes())
    if parent.get_span_context().trace_flags.sampled and parent.get_span_context().is_valid:
        name = f"transaction {transaction.alias}"
        transaction.span = transaction_span.SCOPE.under(parent, name, attributes, start_ns=transaction.start_ns)
    transaction_span.finish(connection, transaction, outcome, reason, error)


def _ending(outcome: str, reason: str) -> Around:
    def close(connection: Any, /, opened: Transaction, error: BaseException | None) -> None:
        if error is None:
            _end_manual(connection, outcome, reason, None)
        elif isinstance(error, Exception):
            # A rollback or close that fails has lost its connection, and the transaction with it.
            _end_manual(connection, ROLLED_BACK, COMMIT_FAILED if outcome == COMMITTED else CLOSED, error)

    return Around(_open_manual, close=close)


def _open_manual(connection: Any, /) -> Transaction | None:
    transaction = transactions.open_on(connection)
    return transaction if transaction is not None and transaction.is_manual else None


def _note_autocommit(connection: Any, /, autocommit: Any) -> None:
    if autocommit:
        _end_manual(connection, COMMITTED, "", None)


def is_aborted(connection: Any) -> bool:
    """Whether PostgreSQL has refused the transaction: then it answers COMMIT with ROLLBACK, and nobody says so."""
    if connection.vendor != "postgresql":
        return False
    info = getattr(connection.connection, "info", None)
    return getattr(info, "transaction_status", None) == _IN_ERROR


_IN_ERROR = 3  # libpq's PQTRANS_INERROR
BASE = "django.db.backends.base.base"
PATCHES = (
    Patch(BASE, "BaseDatabaseWrapper.commit", _ending(COMMITTED, "")),
    Patch(BASE, "BaseDatabaseWrapper.rollback", _ending(ROLLED_BACK, EXPLICIT)),
    Patch(BASE, "BaseDatabaseWrapper.close", _ending(ROLLED_BACK, CLOSED)),
    Patch(BASE, "BaseDatabaseWrapper.set_autocommit", Around(note=_note_autocommit)),
)
