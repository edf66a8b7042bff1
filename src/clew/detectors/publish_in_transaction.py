"""`publish_in_transaction`: a task is sent before the transaction that it depends on is committed.

A worker may run it at once, and does not see the rows; if the transaction is rolled back it runs for nothing. We stand
before the publish, look for open transactions of this thread's connections (a test's own do not count; hooks of
`on_commit` run after the commit and have none), and say it on the PRODUCER span. The message carries the database's
alias, so that a run that fails with `DoesNotExist` says it, too. A task that needs no row is none the worse: it is only
information until the transaction wrote before, was rolled back, or the run failed. Not found: a run that misses the row
without an exception (`.first()`), one that fails with an IntegrityError, transactions of raw SQL.
"""

from __future__ import annotations

from typing import Any

from clew.detectors.on_commit_remedy import remedy_of
from clew.engine import needs
from clew.source.call_site import CallSite, raised_at
from clew.story import findings, transactions
from clew.story.detector import Detector
from clew.story.findings import INFORMATION, WARNING, Finding
from clew.story.local_trace import LocalTrace
from clew.story.transactions import ROLLED_BACK, Publish, Transaction

_TYPE = "publish_in_transaction"
needs.declare(
    __name__,
    *needs.functions("django.core.exceptions", "ObjectDoesNotExist"),
    *needs.attributes("celery.exceptions", "Retry", "exc"),
    consequence="publish_in_transaction is not said of the run that missed its row",
)
_MAX_SENT = 100
_MAX_CAUSES = 5


def _on_publish(publish: Publish) -> None:
    for connection in publish.connections:
        transaction = transactions.open_on(connection)
        opened = transaction.site if transaction is not None else None
        has_written = transaction is not None and transaction.writes > 0
        key = (_TYPE, publish.task_name, str(publish.site), str(opened))
        known = publish.local.finding(key)
        if known is not None:
            known.evidence["count"] += 1
        else:
            known = _finding(publish, connection.alias, opened, has_written=has_written)
            span = publish.span.span if publish.span is not None else None
            publish.local.report(known, key, span)
        if transaction is not None:
            sent: list[Finding] = transaction.memo.setdefault(_TYPE, [])
            if known not in sent and len(sent) < _MAX_SENT:
                sent.append(known)
        return


def _finding(publish: Publish, alias: str, opened: CallSite | None, *, has_written: bool) -> Finding:
    name = publish.task_name
    where = f", opened at {opened.short}" if opened is not None else ""
    wrote = "what it has written" if has_written else "what it writes"
    ran = "runs (eagerly; in production a worker may run it)" if publish.is_eager else "may run"
    return Finding(
        _TYPE,
        f"{name} is sent inside an open transaction of {alias!r}{where}: it {ran} before the commit, "
        f"without seeing {wrote}",
        f"send it after the commit: {remedy_of(publish, alias)}",
        publish.site,
        {"task": name, "alias": alias, "transaction": str(opened or ""), "count": 1},
        WARNING if has_written else INFORMATION,
    )


def _on_transaction(transaction: Transaction) -> None:
    sent: list[Finding] = transaction.memo.pop(_TYPE, [])
    if transaction.outcome != ROLLED_BACK:
        return
    for finding in sent:
        finding.severity = WARNING
        finding.message += "; and that transaction was rolled back"
        if transaction.span is not None:
            findings.attach(transaction.span.span, finding)


def _on_end(local: LocalTrace) -> None:
    """A run has ended whose message was sent inside a transaction."""
    alias = local.published_in
    if not alias or local.task_end is None:
        return
    missing = _missing_row(local.task_end[1])
    if missing is None:
        return
    task = next(iter(local.where.values()), "the task")
    using = "" if alias == "default" else f", using={alias!r}"
    finding = Finding(
        _TYPE,
        f"{task} was sent before its transaction of {alias!r} was committed; the row was not there yet "
        f"({type(missing).__qualname__})",
        f"send it after the commit: transaction.on_commit(...{using}), where the publish span of this trace says it is "
        "sent",
        raised_at(missing.__traceback__),
        {"task": task, "alias": str(alias)},
    )
    local.report(finding, (_TYPE, "run"), local.root.span)


def _missing_row(error: BaseException | None) -> BaseException | None:
    """The `Model.DoesNotExist` an exception is, or was raised from (`get_object_or_404`, `retry(exc=...)`)."""
    for _ in range(_MAX_CAUSES):
        if error is None:
            return None
        if any(
            each.__name__ == "ObjectDoesNotExist" and each.__module__ == "django.core.exceptions"
            for each in type(error).__mro__
        ):
            return error
        within: Any = vars(error).get("exc")
        error = within if issubclass(type(within), BaseException) else error.__cause__ or error.__context__
    return None


DETECTOR = Detector(
    _TYPE,
    doc="A task is sent inside an open transaction; a worker may run it before the commit.",
    fix="`task.delay_on_commit(...)` (Celery 5.4) or `transaction.on_commit(functools.partial(task.delay, ...))`.",
    not_found="Sends from on_commit hooks; inside a test's own transaction. Before a write it is only information.",
    on_publish=_on_publish,
    on_transaction=_on_transaction,
    on_end=_on_end,
)
