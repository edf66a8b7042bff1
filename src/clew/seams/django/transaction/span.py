"""The spans `transaction default` and `savepoint default`: opened, described and ended; detectors told.

COMMIT and ROLLBACK are an attribute (`end_ms`), never a span: there is one in each transaction and always the last
thing in it, so a bar would say no more than the number does, would double the cost of a short transaction, and would
keep equal ones from folding. It is the same on every database; what drivers' instrumentations add is theirs.
"""

from __future__ import annotations

from time import time_ns
from typing import Any

from opentelemetry.context import _RUNTIME_CONTEXT, Context, attach, get_current
from opentelemetry.trace import Status, StatusCode
from opentelemetry.trace.propagation import _SPAN_KEY

from clew import attributes as names
from clew.engine.http_answer import is_answer
from clew.engine.redaction.exception_event import type_name
from clew.source.call_site import CallSite
from clew.spans.current import SUPPRESS
from clew.spans.folding import close_folded
from clew.spans.light_span import LightSpan
from clew.spans.scope import OpenSpan, Scope, parent_in
from clew.story import transactions
from clew.story.detector import watchers
from clew.story.transactions import Transaction

SCOPE = Scope("clew.seams.django.transaction")
_LOST = {
    transactions.ABORTED: "PostgreSQL had refused the transaction after an error, so COMMIT rolled it back",
    transactions.CLOSED: "the connection was closed inside the transaction",
    transactions.CAUGHT: "an error that was caught inside the transaction had broken it",
}


class Block:
    """One `atomic` that has been entered.

    Args:
        transaction: the one it opened or is in.
        connection: its connection, right after it was entered.
        site: the line that did.
        is_outermost: it opened the transaction.
    """

    # Defaults on the class: most of them are never set, and one block is made for each `atomic`.
    span: OpenSpan | None = None
    # While it is being left: since when, what Django is going to do, why, and the exception on its way before.
    leaving_ns = 0
    outcome = reason = ""
    error: BaseException | None = None
    handled: BaseException | None = None

    def __init__(self, transaction: Transaction, connection: Any, site: CallSite | None, *, is_outermost: bool) -> None:
        self.transaction = transaction
        self.depth = len(connection.atomic_blocks)
        self.site = site
        self.is_outermost = is_outermost
        saved = connection.savepoint_ids
        self.has_savepoint = not is_outermost and bool(saved) and saved[-1] is not None
        self.queries, self.writes = transaction.queries, transaction.writes
        self.written = len(transaction.written)
        # id of the last error that broke a transaction of this connection, while the connection holds it.
        self.broken_by = id(connection.rollback_exc)


def open_span(name: str, attributes: dict[str, Any], start_ns: int) -> OpenSpan | None:
    """Open the span of a block that was entered at `start_ns`, and make it current; None where nothing is recorded."""
    context = get_current()
    parent = parent_in(context)
    if parent is None or context.get(SUPPRESS):
        return None
    span = SCOPE.under(parent, name, attributes, context=context, start_ns=start_ns)
    if span is not None:
        span.enter(context)
    return span


def leave(span: OpenSpan) -> None:
    """Make what was current before current again, if the span still is.

    It is not where a generator that holds the block is resumed elsewhere; and where the block was entered and left in
    different contexts (two `sync_to_async`), the token is of no use.
    """
    token, span.token = span.token, None
    if token is None or get_current().get(_SPAN_KEY) is not span.span:
        return
    try:
        _RUNTIME_CONTEXT.detach(token)
    except (ValueError, RuntimeError):
        before = token.old_value
        attach(before if isinstance(before, Context) else Context())


def end(connection: Any, block: Block) -> None:
    """End a transaction that was opened by a block."""
    transaction = block.transaction
    transaction.leaving = block.handled = None
    if block.span is not None:
        block.span.note(names.DJANGO_TRANSACTION_END_MS, (time_ns() - block.leaving_ns) / 1e6)
    finish(connection, transaction, block.outcome, block.reason, block.error)


def end_savepoint(block: Block) -> None:
    """End a savepoint, when its block has been left."""
    transaction, span = block.transaction, block.span
    queries, writes = transaction.queries - block.queries, transaction.writes - block.writes
    if block.has_savepoint and block.outcome == transactions.ROLLED_BACK:
        transaction.writes, transaction.failure = block.writes, ""
        transaction.forget_written(block.written)
    if span is not None:
        span.note(names.DJANGO_TRANSACTION_END_MS, (time_ns() - block.leaving_ns) / 1e6)
        outcome(span, block.outcome, block.reason, queries, writes)
        key = ("savepoint", transaction.alias, _line(block.site), queries, writes)
        close(span, key if block.outcome == transactions.RELEASED else None, block.error)


def _line(site: CallSite | None) -> tuple[str, int] | None:
    # Not the site itself: it holds a code object, and hashing that takes longer than all the rest.
    return (site.path, site.line) if site is not None else None


def abandon(block: Block) -> None:
    """End a block that was never left itself: one further out is."""
    if block.span is not None:
        close(block.span, None, None)


def finish(connection: Any, transaction: Transaction, outcome: str, reason: str, error: BaseException | None) -> None:
    """Let the detectors know that a transaction is over, and end its span."""
    transaction.end_ns = time_ns()
    transaction.outcome, transaction.reason = outcome, reason
    if error is not None:
        transaction.error_type = type_name(error)
    elif outcome == transactions.ROLLED_BACK:
        transaction.error_type = transaction.failure
    if outcome == transactions.ROLLED_BACK:
        transaction.forget_written()
    transactions.drop(connection)
    span = transaction.span
    hooks = connection.run_on_commit[transaction.hooks_at :] if outcome == transactions.COMMITTED else ()
    if hooks:
        if span is not None and not transaction.is_in_test:
            transaction.span_context = span.span.get_span_context()
        for on_commit_hooks in watchers.on_commit_hooks:
            on_commit_hooks(connection, hooks, transaction)
    transaction.error = error
    for on_transaction in watchers.on_transaction:
        on_transaction(transaction)
    transaction.error = None
    if span is not None:
        _describe(span, transaction)
        _end(span, transaction, error)


def _describe(span: OpenSpan, transaction: Transaction) -> None:
    outcome(span, transaction.outcome, transaction.reason, transaction.queries, transaction.writes)
    if transaction.is_manual:
        span.note(names.DJANGO_TRANSACTION_MANUAL, value=True)
    if transaction.locked_ns:
        span.note(names.DJANGO_TRANSACTION_LOCK_HELD_MS, (transaction.end_ns - transaction.locked_ns) / 1e6)
    if transaction.calls:
        waited = sum([each.duration_ns for each in transaction.calls.values()])
        span.note(names.DJANGO_TRANSACTION_EXTERNAL_MS, round(waited / 1e6, 3))


def outcome(span: OpenSpan, how: str, reason: str, queries: int, writes: int) -> None:
    """Note how a transaction or savepoint ended, and what was in it."""
    span.note(names.DJANGO_TRANSACTION_OUTCOME, how)
    if reason:
        span.note(names.DJANGO_TRANSACTION_REASON, reason)
    span.note(names.DJANGO_TRANSACTION_QUERIES, queries)
    span.note(names.DJANGO_TRANSACTION_WRITES, writes)


def _end(span: OpenSpan, transaction: Transaction, error: BaseException | None) -> None:
    said = _LOST.get(transaction.reason)
    if said and error is None:
        span.note(names.ERROR_TYPE, transaction.failure or transaction.reason)
        span.span.set_status(Status(StatusCode.ERROR, said))
    if transaction.is_held and type(span) is LightSpan:
        leave(span)
        if error is not None and not is_answer(error):
            span.fail(error)
        span.end_time = time_ns()
        return
    transaction.is_held = False
    key = ("transaction", transaction.alias, _line(transaction.site), transaction.queries, transaction.writes)
    close(span, key if transaction.outcome == transactions.COMMITTED and not transaction.locked_ns else None, error)


def close(span: OpenSpan, key: Any, error: BaseException | None) -> None:
    """End a span; with its equals as one where it has a key. Django's way to answer 4xx is no error."""
    leave(span)
    if is_answer(error):
        error = None
    if key is None or error is not None:
        span.close(error)
    else:
        close_folded(span, span.above, key)
