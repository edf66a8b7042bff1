"""`rolled_back_but_succeeded`: what was written is lost, and the request answered 2xx or 3xx, or the task succeeded.

We stand at the end of every transaction and, because only there the answer is known, at the end of the request or task;
the transaction's span is kept until then so that the finding is where it happened. Deliberate rollbacks
(`set_rollback(True)` for a dry run, `rollback()` with autocommit off), and an IntegrityError that a view catches to
show its form again, are information. Not found: transactions that wrote nothing, savepoints, blocks from the same
line that committed later (a retry), answers of 4xx and 5xx, scripts.
"""

from __future__ import annotations

from clew.spans.light_span import LightSpan
from clew.story import findings
from clew.story.detector import Detector
from clew.story.findings import INFORMATION, WARNING, Finding
from clew.story.local_trace import LocalTrace, Slot
from clew.story.transactions import (
    ABORTED,
    CAUGHT,
    CLOSED,
    COMMIT_FAILED,
    COMMITTED,
    EXPLICIT,
    SET_ROLLBACK,
    Transaction,
)

_LOST: Slot[list[Transaction]] = Slot()
_MAX_HELD = 50
_CAUSES = {
    CAUGHT: "because {error}, caught inside it, had broken it",
    ABORTED: "by PostgreSQL in place of the COMMIT, because {error}, caught inside it, had broken it",
    CLOSED: "because its connection was closed inside it",
    COMMIT_FAILED: "because its COMMIT failed with {error}",
    SET_ROLLBACK: "by set_rollback(True)",
    EXPLICIT: "by rollback()",
}
_FIXES = {
    CAUGHT: "put what may fail into an atomic() of its own inside the transaction, and catch the error around that",
    ABORTED: "put what may fail into an atomic() of its own inside the transaction, and catch the error around that",
    SET_ROLLBACK: "nothing, if it is a dry run; otherwise raise an error instead, so that the caller hears of it",
    EXPLICIT: "nothing, if it is meant; otherwise answer with an error",
}
_FIX = "let the exception reach the caller, or answer with an error where it is caught"


def _on_transaction(transaction: Transaction) -> None:
    local = transaction.local
    if local is None:
        return
    lost = _LOST.get(local) or []
    if transaction.outcome == COMMITTED:
        for each in [each for each in lost if transaction.site is not None and each.site == transaction.site]:
            lost.remove(each)
            each.release()
    elif transaction.writes and len(lost) < _MAX_HELD:
        _LOST.put(local, lost).append(transaction)
        transaction.is_held = type(transaction.span) is LightSpan


def _on_end(local: LocalTrace) -> None:
    lost = _LOST.pop(local) or []
    answer = _answer(local) if lost else ""
    for transaction in lost:
        try:
            if answer:
                _report(local, transaction, answer)
        finally:
            transaction.release()


def _answer(local: LocalTrace) -> str:
    """How the request or task ended, if that is a success."""
    if local.task_end is not None:
        return "the task succeeded" if local.task_end[0] == "succeeded" else ""
    status = local.response_status or 0
    return f"the request answered {status}" if 200 <= status < 400 else ""


def _report(local: LocalTrace, transaction: Transaction, answer: str) -> None:
    # A form shown again because the name is taken is the usual end of an IntegrityError, and no loss.
    is_meant = transaction.reason in (SET_ROLLBACK, EXPLICIT) or transaction.error_type.endswith("IntegrityError")
    cause = _CAUSES.get(transaction.reason, "by {error}").format(error=transaction.error_type or "an error")
    writes = "its write is" if transaction.writes == 1 else f"its {transaction.writes} writes are"
    finding = Finding(
        "rolled_back_but_succeeded",
        f"a transaction of {transaction.alias!r} was rolled back {cause}, yet {answer}: {writes} lost",
        _FIXES.get(transaction.reason, _FIX),
        transaction.site,
        {"writes": transaction.writes, "reason": transaction.reason},
        INFORMATION if is_meant else WARNING,
    )
    span = transaction.span if transaction.is_held else None
    findings.report(local, finding, ("rolled_back_but_succeeded", transaction.alias, str(transaction.site)), span)


DETECTOR = Detector(
    "rolled_back_but_succeeded",
    doc="A transaction that wrote something was rolled back, and yet the request or task ended well.",
    fix="Let the exception reach the caller, or answer with an error.",
    not_found="Savepoints, transactions that wrote nothing, blocks that were tried again and committed, 4xx and 5xx.",
    on_transaction=_on_transaction,
    on_end=_on_end,
)
