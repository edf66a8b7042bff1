"""`rolled_back_but_succeeded`: what was written is lost, and the request answered 2xx or 3xx, or the task succeeded.

We stand at the end of every transaction and, because only there the answer is known, at the end of the request or task;
the transaction's span is kept until then so that the finding is where it happened. Many rollbacks are meant, and what
becomes of their exception says so (see `source/handlers.py`): a finding is what a handler of the application's own
swallows. Not found: `set_rollback(True)` and `rollback()`; an exception that the block itself raises and that is caught
there; a handler that does more than to log (shows the form again, takes another way, keeps the error); what a library
catches and answers (GraphQL's `errors`); savepoints; blocks whose same writes were committed later (a retry); answers
of 4xx and 5xx; scripts.
"""

from __future__ import annotations

import re
import sys
from types import TracebackType
from typing import Any

from clew.source import handlers
from clew.source.frames import APPLICATION, is_application, kind_of
from clew.source.handlers import Catch
from clew.source.source_tree import Step, steps_of
from clew.spans.light_span import LightSpan
from clew.story.detector import Detector
from clew.story.findings import Finding
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


class _Lost:
    """A transaction that was rolled back, and what is to be known of its exception at the end.

    Args:
        transaction: with writes that are lost, unless they are committed later.
        steps: where in the application the exception went through.
    """

    def __init__(self, transaction: Transaction, steps: tuple[Step, ...]) -> None:
        error = transaction.error
        self.transaction = transaction
        self.steps = steps
        self.kinds = type(error).__mro__ if error is not None else ()
        self.is_duplicate = error is not None and _is_duplicate(error)
        self.is_raised_here = error is not None and _is_raised_in(error.__traceback__, steps)


_LOST: Slot[list[_Lost]] = Slot()
_MAX_HELD = 50
_DUPLICATES = ("23505", "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_PRIMARYKEY")
_MYSQL_DUPLICATE = 1062
_CAUSES = {
    CAUGHT: "because {error}, caught inside it, had broken it",
    ABORTED: "by PostgreSQL in place of the COMMIT, because {error}, caught inside it, had broken it",
    CLOSED: "because its connection was closed inside it",
    COMMIT_FAILED: "because its COMMIT failed with {error}",
}
_INSIDE = "put what may fail into an atomic() of its own inside the transaction, and catch the error around that"
_FIX = "let the exception reach the caller, or answer with an error where it is caught"
# A second try makes these anew.
_NEW_EACH_TIME = re.compile(
    r"\d{4}-\d\d-\d\d[ T]\d\d:|[0-9a-f]{8}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{4}-?[0-9a-f]{12}\Z"
)


def _on_transaction(transaction: Transaction) -> None:
    local = transaction.local
    if local is None or transaction.reason in (SET_ROLLBACK, EXPLICIT):
        return
    lost = _LOST.get(local) or []
    if transaction.outcome == COMMITTED:
        for each in [each for each in lost if _is_done_by(each.transaction, transaction)]:
            lost.remove(each)
            each.transaction.release()
    elif transaction.writes and len(lost) < _MAX_HELD:
        is_inside = transaction.reason in (CAUGHT, ABORTED)
        steps = transaction.failed_in if is_inside else steps_of(sys._getframe(1))
        _LOST.put(local, lost).append(_Lost(transaction, steps))
        transaction.is_held = type(transaction.span) is LightSpan


def _is_done_by(lost: Transaction, committed: Transaction) -> bool:
    """Whether a later transaction of the same line has written the same."""
    if committed.site is None or lost.site != committed.site:
        return False
    if lost.first_write is None or committed.first_write is None:
        return True
    (one, given), (other, given_later) = lost.first_write, committed.first_write
    if one.fingerprint != other.fingerprint:
        return False
    is_new = one.operation == "INSERT"
    return _plain(given, is_new=is_new) == _plain(given_later, is_new=is_new)


def _plain(params: Any, *, is_new: bool) -> list[Any]:
    """The texts and numbers of parameters, without what a new row is given anew (times, random keys)."""
    if type(params) is dict:
        params = list(params.values())
    if type(params) not in (list, tuple):
        return []
    if params and type(params[0]) in (list, tuple):
        params = params[0]
    found: list[Any] = []
    for each in params:
        # Drivers have numbers of their own; their methods are not called, they may be the application's.
        if issubclass(type(each), int):
            found.append(int.__index__(each))
        elif issubclass(type(each), str):
            text = str.__str__(each)
            match = _NEW_EACH_TIME.match(text)
            if match is None or (not is_new and match.end() == len(text)):
                found.append(text)
    return found


def _is_raised_in(traceback: TracebackType | None, steps: tuple[Step, ...]) -> bool:
    """Whether an exception was raised by the very function that the block is in."""
    last: TracebackType | None = None
    while traceback is not None:
        if kind_of(traceback.tb_frame) == APPLICATION and last is not None:
            return False
        last = traceback if last is None and kind_of(traceback.tb_frame) == APPLICATION else last
        if traceback.tb_next is None:
            return last is traceback and bool(steps) and last.tb_frame.f_code is steps[0].code
        traceback = traceback.tb_next
    return False


def _on_end(local: LocalTrace) -> None:
    lost = _LOST.pop(local) or []
    answer = _answer(local) if lost else ""
    for each in lost:
        try:
            if answer and not _is_meant(each):
                _report(local, each.transaction, answer)
        finally:
            each.transaction.release()


def _answer(local: LocalTrace) -> str:
    """How the request or task ended, if that is a success."""
    if local.task_end is not None:
        return "the task succeeded" if local.task_end[0] == "succeeded" else ""
    status = local.response_status or 0
    return f"the request answered {status}" if 200 <= status < 400 else ""


def _is_meant(lost: _Lost) -> bool:
    transaction = lost.transaction
    if transaction.reason == CLOSED:
        return False
    if not lost.steps:
        return transaction.reason not in (CAUGHT, ABORTED)
    catch = handlers.catch_of(lost.steps, lost.kinds or (Exception,))
    if transaction.reason in (CAUGHT, ABORTED):
        # The form is shown again; but a block that goes on after an error does not know that all of it is lost.
        return catch.fate == handlers.HANDLED and transaction.is_atomic_request
    if catch.fate == handlers.UNKNOWN:
        return lost.is_raised_here and _is_own(lost.kinds)
    return catch.fate != handlers.SWALLOWED or _is_swallowed_on_purpose(lost, catch)


def _is_swallowed_on_purpose(lost: _Lost, catch: Catch) -> bool:
    if lost.is_raised_here and catch.depth == 0:
        return catch.is_by_name or _is_own(lost.kinds)
    # "It is there already": the usual end of a second insert.
    return catch.is_by_name and lost.is_duplicate


def _is_duplicate(error: BaseException) -> bool:
    """Whether a database has refused a row because it has one like it."""
    cause = error.__cause__ or error
    said = cause.args[0] if cause.args else None
    if any(getattr(cause, name, None) in _DUPLICATES for name in ("sqlstate", "pgcode", "sqlite_errorname")):
        return True
    return said == _MYSQL_DUPLICATE or (type(said) is str and said.startswith("UNIQUE constraint failed"))


def _is_own(kinds: tuple[type, ...]) -> bool:
    """Whether an exception's class is the application's."""
    module = sys.modules.get(kinds[0].__module__) if kinds else None
    path = getattr(module, "__file__", None)
    return type(path) is str and is_application(path)


def _report(local: LocalTrace, transaction: Transaction, answer: str) -> None:
    cause = _CAUSES.get(transaction.reason, "by {error}").format(error=transaction.error_type or "an error")
    writes = "its write is" if transaction.writes == 1 else f"its {transaction.writes} writes are"
    finding = Finding(
        "rolled_back_but_succeeded",
        f"a transaction of {transaction.alias!r} was rolled back {cause}, yet {answer}: {writes} lost",
        _INSIDE if transaction.reason in (CAUGHT, ABORTED) else _FIX,
        transaction.site,
        {"writes": transaction.writes, "reason": transaction.reason},
    )
    span = transaction.span if transaction.is_held else None
    local.report(finding, ("rolled_back_but_succeeded", transaction.alias, str(transaction.site)), span)


DETECTOR = Detector(
    "rolled_back_but_succeeded",
    doc="A transaction that wrote something was rolled back by an error that was swallowed, and yet the request or "
    "task ended well.",
    fix="Let the exception reach the caller, or answer with an error.",
    not_found="Rollbacks that the code means: `set_rollback(True)`, an exception of the block's own that is caught "
    "beside it, a handler that does more than to log. What a library catches; savepoints, transactions that wrote "
    "nothing, blocks that were tried again and committed, 4xx and 5xx.",
    on_transaction=_on_transaction,
    on_end=_on_end,
)
