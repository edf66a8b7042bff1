"""`io_in_transaction`: a transaction is kept open while the application waits for another service.

Row locks and a connection are held for as long as that service takes, and what it did is not undone by a rollback. We
stand at the end of the other instrumentations' CLIENT spans (HTTP, gRPC, caches, other stores), in the thread whose
connection has the transaction, and at clew's own publishes. Known to be reported though it may be meant: a call that
has to happen before the commit (a payment's authorisation). Not found: statements of the very database, whoever makes
their spans, and what is in this process; calls nothing instruments; those of unsampled requests, which have no spans;
caches and brokers until they took `io_in_transaction_threshold_ms` together, because a millisecond each is what they
are for.
"""

from __future__ import annotations

import sys
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.trace import SpanKind, get_current_span

from clew.engine import configuration
from clew.source.call_site import call_site
from clew.story import own_database, transactions
from clew.story.detector import Detector
from clew.story.findings import INFORMATION, WARNING, Finding
from clew.story.transactions import BROKER, REMOTE, STORE, Calls, Transaction

_STORES = ("redis", "memcached", "valkey", "pymemcache", "cache")


def _on_client_call(span: ReadableSpan) -> None:
    connections = transactions.open_connections()
    if not connections:
        return
    current: Any = get_current_span()
    if getattr(current, "kind", None) in (SpanKind.PRODUCER, SpanKind.CLIENT):
        return  # the client below a publish or call that counts itself
    site = call_site(sys._getframe(1))
    took_ns = (span.end_time or 0) - (span.start_time or 0)
    for connection in connections:
        transaction = transactions.open_on(connection)
        if transaction is None or (span.start_time or 0) < transaction.start_ns:
            continue
        if not own_database.is_of(connection, span):
            transaction.called(_kind_of(span), took_ns, span.name, site)


def _kind_of(span: ReadableSpan) -> str:
    attributes: Any = span.attributes or {}
    if "messaging.system" in attributes:
        return BROKER
    system = attributes.get("db.system.name") or attributes.get("db.system")
    if system is not None:
        return STORE
    scope = span.instrumentation_scope
    name = scope.name.rpartition(".")[2] if scope is not None else ""
    return STORE if name in _STORES else REMOTE


def _on_transaction(transaction: Transaction) -> None:
    local = transaction.local
    if not transaction.calls or local is None:
        return
    limit_ns = configuration.settings.io_in_transaction_threshold_ms * 1e6
    quick = [transaction.calls[kind] for kind in (STORE, BROKER) if kind in transaction.calls]
    counted = quick if sum([each.duration_ns for each in quick]) >= limit_ns else []
    if REMOTE in transaction.calls:
        counted = [*counted, transaction.calls[REMOTE]]
    if counted:
        _report(transaction, local, counted, limit_ns)


def _report(transaction: Transaction, local: Any, counted: list[Calls], limit_ns: float) -> None:
    count = sum([each.count for each in counted])
    waited_ns = sum([each.duration_ns for each in counted])
    longest = max(counted, key=lambda each: each.longest_ns)
    calls = "a call" if count == 1 else f"{count} calls"
    finding = Finding(
        "io_in_transaction",
        f"{calls} to other services ({longest.name}, {waited_ns / 1e6:.0f} ms) inside an open transaction of "
        f"{transaction.alias!r}: its locks and its connection are held meanwhile",
        "call other services before the transaction, or in transaction.on_commit(...) where they need its result",
        longest.site,
        {"count": count, "duration_ms": round(waited_ns / 1e6, 3), "transaction": str(transaction.site or "")},
        WARNING if waited_ns >= limit_ns else INFORMATION,
    )
    key = ("io_in_transaction", transaction.alias, str(transaction.site), str(longest.site))
    local.report(finding, key, transaction.span and transaction.span.span)


DETECTOR = Detector(
    "io_in_transaction",
    doc="The application waits for another service while a transaction is open.",
    fix="Call other services before the transaction, or in `transaction.on_commit(...)`.",
    not_found="The database's own statements; quick calls to caches and brokers; calls that nothing instruments; "
    "unsampled requests.",
    on_client_call=_on_client_call,
    on_transaction=_on_transaction,
)
