"""`slow_query`: a query took longer than `slow_query_threshold_ms`.

We stand at the query's end, in the database seam: there its line is known, and the time is the database's and not that
of the rows' way into objects. Not found: time spent fetching (SQLite reads rows as they are fetched). No driver
tells of a wait for a lock: the advice takes a query that locks rows, and a write of one row by its key, for one.
"""

from __future__ import annotations

import re

from clew.engine import configuration
from clew.story.detector import Detector
from clew.story.findings import Finding
from clew.story.query import Query


def _on_slow(query: Query) -> None:
    site = query.site or (query.repeats.first_site if query.repeats is not None else None)
    key = ("slow_query", query.statement.fingerprint, query.alias, str(site))
    known = query.local.finding(key)
    took_ms = query.duration_ns / 1e6
    if known is not None:
        known.evidence["count"] += 1
        known.evidence["duration_ms"] = round(max(known.evidence["duration_ms"], took_ms), 3)
        return
    finding = Finding(
        "slow_query",
        "",
        _fix(query),
        site,
        {"duration_ms": round(took_ms, 3), "count": 1, "query": query.statement.summary},
        refresh=_put_into_words,
    )
    query.report(finding, key)


def _put_into_words(finding: Finding) -> None:
    evidence = finding.evidence
    times = "" if evidence["count"] == 1 else f" (the slowest of {evidence['count']})"
    limit = configuration.settings.slow_query_threshold_ms
    finding.message = (
        f"{evidence['query'] or 'a query'} took {evidence['duration_ms']:.0f} ms{times}, "
        f"longer than slow_query_threshold_ms ({limit:g})"
    )


def _fix(query: Query) -> str:
    statement = query.statement
    if statement.locks_rows:
        return "it waits for rows others have locked: keep transactions short, or use skip_locked=True or nowait=True"
    if _TAKES_A_LOCK.search(statement.text):
        return "it waits for a lock somebody else holds: hold it for less, or try it without waiting"
    if _is_refused_a_lock(query.error) or (statement.is_write and _ONE_ROW.search(statement.text)):
        return (
            "writing one row needs no plan: most likely it waited for a lock that another transaction held on it; keep"
            " transactions short, and look for the holder (pg_blocking_pids(), SHOW ENGINE INNODB STATUS)"
        )
    if statement.is_write:
        return "look at its plan with EXPLAIN; write in smaller batches, and check indexes and triggers of the table"
    return "look at its plan with QuerySet.explain(); index what it filters and orders by, and select fewer columns"


def _is_refused_a_lock(error: BaseException | None) -> bool:
    cause = error.__cause__ if error is not None else None
    code = getattr(cause, "sqlstate", None) or getattr(cause, "pgcode", None) or getattr(cause, "args", (None,))[:1]
    return code in _LOCK_ERRORS


# lock_not_available and deadlock_detected of PostgreSQL, the same of MySQL; SQLite's.
_LOCK_ERRORS = ("55P03", "40P01", (1205,), (1213,), ("database is locked",), ("database table is locked",))
_TAKES_A_LOCK = re.compile(r"\b(?:pg_advisory(?:_xact)?_lock\w*|GET_LOCK)\s*\(|^\s*LOCK\s+TABLE", re.IGNORECASE)
# By its key, or one that is new.
_ONE_ROW = re.compile(
    r'WHERE \(?(?:["`]?\w+["`]?\.)?["`]?(?:id|uuid|pk|\w+_ptr_id)["`]? = (?:%s|\?|\d+)\)?\s*;?$'
    r"|VALUES \((?:%s|\?|NULL|DEFAULT)(?:, ?(?:%s|\?|NULL|DEFAULT))*\)(?: RETURNING [^;]*)?$",
    re.IGNORECASE,
)

DETECTOR = Detector(
    "slow_query",
    doc="A query took longer than `slow_query_threshold_ms`.",
    fix="Look at its plan (`QuerySet.explain()`), add an index, select fewer rows and columns.",
    not_found="Time that goes into fetching the rows or making objects of them.",
    on_slow=_on_slow,
)
