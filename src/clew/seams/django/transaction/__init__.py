"""`transaction default` and `savepoint default`: from BEGIN to COMMIT or ROLLBACK, with the line that opened it.

We stand at `Atomic.__enter__` and `__exit__`, and tell what happened from Django's own state before and after: an
`atomic` is a transaction, a savepoint or nothing at all, depending on what it is in. What is known is kept on the
connection, since one `Atomic` (a decorated view's) is entered by many threads. A transaction is over when Django has
committed, before it runs the on_commit hooks. TestCase's own blocks do not count: what is right inside them is shown as
the transaction it is in production, committed when its savepoint is released.

    atomic(savepoint=False) inside another: no span; an error that leaves it rolls the outer one back
    set_rollback(True): rolled back, no error
    a database error caught inside the block: rolled back with that error, reason `caught_exception`
"""

from __future__ import annotations

import sys
from time import time_ns
from typing import Any

from opentelemetry.trace import get_current_span

from clew import attributes as names
from clew.engine import needs
from clew.engine.redaction.exception_event import type_name
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.django.transaction import on_commit
from clew.seams.django.transaction import queries as transaction_queries
from clew.seams.django.transaction import span as transaction_span
from clew.seams.django.transaction.place import place_of
from clew.seams.django.transaction.span import Block
from clew.source.call_site import CallSite
from clew.spans import scope as spans
from clew.story import local_trace, transactions
from clew.story.transactions import (
    ABORTED,
    CAUGHT,
    CLOSED,
    COMMIT_FAILED,
    COMMITTED,
    EXCEPTION,
    RELEASED,
    ROLLED_BACK,
    SET_ROLLBACK,
    Transaction,
)


class Entering:
    """A block that is being entered.

    Args:
        connection: the one it is for.
        kind: what it is going to be: transaction, savepoint or, "", neither.
        start_ns: since when.
    """

    __slots__ = ("connection", "kind", "span", "start_ns")

    def __init__(self, connection: Any, kind: str, start_ns: int) -> None:
        self.connection, self.kind, self.start_ns = connection, kind, start_ns
        # Current from now on: what a driver's instrumentation tells of BEGIN and SAVEPOINT is below it.
        name, attributes = f"{kind} {connection.alias}", {names.DJANGO_DB_ALIAS: connection.alias}
        self.span = transaction_span.open_span(name, attributes, start_ns) if kind else None

    def taken_as(self, kind: str) -> Any:
        """Its span, if it has become what it was going to be."""
        span = None
        if kind == self.kind:
            span, self.span = self.span, None
        return span


def _entering(atomic: Any, /) -> Entering | None:
    """Look at a block that is being entered; None where nothing is traced."""
    if spans.pipeline() is None or (local_trace.current() is None and not get_current_span().is_recording()):
        return None
    start_ns = time_ns()
    try:
        connection = _connection(atomic)
    except Exception:  # noqa: BLE001 - there is no such database, as Django is going to say
        return None
    return Entering(connection, _foreseen(atomic, connection), start_ns)


def _foreseen(atomic: Any, connection: Any) -> str:
    blocks = connection.atomic_blocks
    if atomic._from_testcase:
        return ""
    if connection.in_atomic_block and connection.commit_on_exit and all(each._from_testcase for each in blocks):
        return "transaction"
    if not connection.in_atomic_block:
        is_open = connection.connection is not None
        if connection.autocommit if is_open else connection.settings_dict["AUTOCOMMIT"]:
            return "transaction"
    return "savepoint" if atomic.savepoint and not connection.needs_rollback else ""


def _entered(atomic: Any, /, opened: Entering, caller: Any) -> None:
    connection = opened.connection
    blocks = connection.atomic_blocks
    if atomic._from_testcase or not blocks:
        return
    local = local_trace.current() or local_trace.of_current_span()
    site, is_atomic_request = place_of(caller)
    is_first = len(blocks) == 1 or all(each._from_testcase for each in blocks[:-1])
    is_outermost = is_first and connection.commit_on_exit
    if is_outermost:
        transaction = _begin(atomic, connection, local, site, opened.start_ns)
        transaction.is_atomic_request = is_atomic_request
    elif (known := transactions.open_on(connection)) is not None:
        transaction = known
    elif transaction_queries.is_manual(connection):
        transaction = transaction_queries.begin_manual(connection, caller)
    else:
        return  # it was begun before anything was traced
    block = Block(transaction, connection, site, is_outermost=is_outermost)
    transaction.blocks.append(block)
    if is_outermost or block.has_savepoint:
        block.span = _span_of(opened, block, _attributes(atomic, transaction, site, is_outermost=is_outermost))
        if is_outermost:
            transaction.span = block.span


def _span_of(opened: Entering, block: Block, attributes: dict[str, Any]) -> Any:
    kind = "transaction" if block.is_outermost else "savepoint"
    span = opened.taken_as(kind)
    if span is None:
        return transaction_span.open_span(f"{kind} {opened.connection.alias}", attributes, opened.start_ns)
    for key, value in attributes.items():
        span.note(key, value)
    return span


def _not_entered(opened: Entering, error: BaseException | None) -> None:
    """What was opened and is no transaction: the database refused it, or Django made nothing of the block."""
    span = opened.span
    if span is None:
        return
    if span.is_trivial:
        span.discard()
    else:
        span.close(error)


def _connection(atomic: Any) -> Any:
    """What Django's `get_connection` gives it; that may be replaced, and is not called once more for us."""
    database = sys.modules["django.db"]
    return database.connections[database.DEFAULT_DB_ALIAS if atomic.using is None else atomic.using]


def _begin(atomic: Any, connection: Any, local: Any, site: Any, start_ns: int) -> Transaction:
    transaction = Transaction(connection.alias, local, site, start_ns)
    transaction.is_in_test = len(connection.atomic_blocks) > 1
    transaction.hooks_at = len(connection.run_on_commit)
    transactions.hold(connection, transaction)
    return transaction


def _attributes(atomic: Any, transaction: Transaction, site: CallSite | None, *, is_outermost: bool) -> dict[str, Any]:
    found: dict[str, Any] = {names.DJANGO_DB_ALIAS: transaction.alias}
    if atomic.durable:
        found[names.DJANGO_TRANSACTION_DURABLE] = True
    if is_outermost and transaction.is_atomic_request:
        found[names.DJANGO_TRANSACTION_ATOMIC_REQUEST] = True
    if site is not None:
        found.update(site.attributes())
    return found


def _leaving(atomic: Any, /, exc_value: BaseException | None) -> tuple[Block, Any] | None:
    """The block that is being left, with what Django is going to do, and its connection."""
    connection = _connection(atomic)
    transaction = transactions.open_on(connection)
    if transaction is None:
        return None
    depth, blocks = len(connection.atomic_blocks), transaction.blocks
    while blocks and blocks[-1].depth > depth:
        transaction_span.abandon(blocks.pop())
    if not blocks or blocks[-1].depth != depth:
        return None
    block: Block = blocks.pop()
    block.leaving_ns = time_ns()
    block.error = exc_value
    _foresee(block, connection, transaction)
    if block.is_outermost:
        transaction.leaving = block
        block.handled = sys.exc_info()[1]
    return block, connection


def _foresee(block: Block, connection: Any, transaction: Transaction) -> None:
    if connection.closed_in_transaction:
        block.outcome, block.reason = ROLLED_BACK, CLOSED
    elif block.error is not None:
        block.outcome, block.reason = ROLLED_BACK, EXCEPTION
        if not block.is_outermost and not block.has_savepoint:
            transaction.failure = type_name(block.error)
    elif connection.needs_rollback:
        _broken(block, connection, transaction)
    elif block.is_outermost and transaction.failure and transaction_queries.is_aborted(connection):
        block.outcome, block.reason = ROLLED_BACK, ABORTED
    else:
        block.outcome = COMMITTED if block.is_outermost else RELEASED


def _broken(block: Block, connection: Any, transaction: Transaction) -> None:
    """It is rolled back although no exception leaves it: on purpose, or because one was caught inside."""
    block.outcome, block.reason = ROLLED_BACK, SET_ROLLBACK
    broken_by = connection.rollback_exc
    if broken_by is not None and id(broken_by) != block.broken_by:
        block.reason, block.error = CAUGHT, broken_by
    elif transaction.failure:
        block.reason = CAUGHT


def _left(opened: tuple[Block, Any], error: BaseException | None) -> None:
    """Note how Django has left the block."""
    block, connection = opened
    transaction = block.transaction
    if transaction.outcome:
        return  # it was committed, and is over since before its hooks ran
    if error is not None and block.outcome != ROLLED_BACK:
        block.outcome, block.reason, block.error = ROLLED_BACK, COMMIT_FAILED, error
    if block.is_outermost:
        transaction_span.end(connection, block)
    else:
        transaction_span.end_savepoint(block)
    block.error = None


_TRANSACTION = "django.db.transaction"
SEAM = Seam(
    "django.transaction",
    on_install=lambda: setattr(transaction_queries.Counting, "is_on", True),
    on_uninstall=lambda: setattr(transaction_queries.Counting, "is_on", False),
    patches=(
        Patch(_TRANSACTION, "Atomic.__enter__", Around(_entering, _entered, close=_not_entered)),
        Patch(_TRANSACTION, "Atomic.__exit__", Around(_leaving, close=_left)),
        *transaction_queries.PATCHES,
        *on_commit.PATCHES,
    ),
    needs=(
        *needs.functions("django.db", "connections", "DEFAULT_DB_ALIAS"),
        *needs.attributes(_TRANSACTION, "Atomic", "using", "savepoint", "durable", "_from_testcase"),
        *needs.attributes(
            transaction_queries.BASE,
            "BaseDatabaseWrapper",
            *("alias", "atomic_blocks", "autocommit", "closed_in_transaction", "commit_on_exit", "connection"),
            *(
                "in_atomic_block",
                "needs_rollback",
                "rollback_exc",
                "run_on_commit",
                "savepoint_ids",
                "settings_dict",
                "vendor",
            ),
        ),
    ),
    spans=(
        SpanDoc(
            "transaction default",
            "INTERNAL",
            "an outermost `atomic`, until the database has committed or rolled back; equal ones side by side are one",
            (
                *(names.DJANGO_DB_ALIAS, names.DJANGO_TRANSACTION_OUTCOME, names.DJANGO_TRANSACTION_REASON),
                *(names.DJANGO_TRANSACTION_DURABLE, names.DJANGO_TRANSACTION_ATOMIC_REQUEST),
                *(names.DJANGO_TRANSACTION_MANUAL, names.DJANGO_TRANSACTION_QUERIES, names.DJANGO_TRANSACTION_WRITES),
                *(names.DJANGO_TRANSACTION_END_MS, names.DJANGO_TRANSACTION_LOCK_HELD_MS),
                names.DJANGO_TRANSACTION_EXTERNAL_MS,
                *names.CODE,
            ),
        ),
        SpanDoc(
            "savepoint default",
            "INTERNAL",
            "an `atomic` inside another",
            (
                *(names.DJANGO_DB_ALIAS, names.DJANGO_TRANSACTION_OUTCOME, names.DJANGO_TRANSACTION_REASON),
                *(names.DJANGO_TRANSACTION_QUERIES, names.DJANGO_TRANSACTION_WRITES, names.DJANGO_TRANSACTION_END_MS),
                *names.CODE,
            ),
        ),
        on_commit.SPAN,
    ),
)
