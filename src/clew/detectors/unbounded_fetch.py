"""`unbounded_fetch`: a query without LIMIT returned `unbounded_fetch_threshold_rows` or more.

We stand where the rows are counted: the driver's own count, or Django's fetching (SQLite, server-side cursors). Not
found: `.iterator()` and chunks, which are the remedy; aggregates, and a row for each group; queries with a LIMIT,
however large; no more rows than the caller gave keys, and prefetches; what management commands read, which have no
request or task around them; rows a raw cursor reads on a driver that does not count.
"""

from __future__ import annotations

import re
import sys
from types import FrameType

from clew.detectors import orm_frames
from clew.engine import configuration
from clew.source import call_site
from clew.source.stack import stack
from clew.story import findings
from clew.story.detector import Detector
from clew.story.findings import Finding
from clew.story.query import Query


def _on_rows(query: Query) -> None:
    statement = query.statement
    if not statement.is_select or statement.is_limited or statement.is_aggregate or query.is_chunked:
        return
    # Where Django has read the rows itself, the stack is that of the reading.
    frame = query.frame or sys._getframe()
    if any(map(_is_bounding, stack(frame))) or _is_bounded(query):
        return
    site = query.site or (call_site.call_site(query.frame) if query.frame is not None else None)
    key = ("unbounded_fetch", statement.fingerprint, query.alias, str(site))
    known = query.local.finding(key)
    if known is not None:
        known.evidence["returned_rows"] = max(known.evidence["returned_rows"], query.rows)
        return
    evidence = {"returned_rows": query.rows, "query": statement.summary}
    finding = Finding("unbounded_fetch", "", _fix(frame), site, evidence, refresh=_put_into_words)
    if query.local.report(finding, key):
        # Told of rows that are still being fetched, the query's span is there already.
        if query.span is not None and query.frame is None:
            findings.attach(query.span, finding)
        else:
            query.findings += (finding,)


def _is_bounding(frame: FrameType) -> bool:
    """Whether it is `.iterator()`, the remedy, or a prefetch, which the caller's objects bound."""
    return frame.f_code.co_name in _BOUNDING and orm_frames.meaning(frame) in (orm_frames.CHUNKS, orm_frames.PREFETCH)


def _fix(frame: FrameType) -> str:
    if orm_frames.is_listing_deleted(frame):
        return "the admin's page that asks whether to delete shows all: override get_deleted_objects() of the admin"
    if any(
        each.f_code.co_name == "collect" and orm_frames.meaning(each) == orm_frames.WRITING for each in stack(frame)
    ):
        return (
            "deleting loads what goes with the objects: delete that first, in batches of keys, or leave it to the"
            " database (on_delete=DO_NOTHING with a constraint that cascades, DB_CASCADE from Django 6.1 on)"
        )
    return _FIX


def _is_bounded(query: Query) -> bool:
    """Whether the caller's keys bound it, or it has a row for each group."""
    params = query.params
    count = len(params) if type(params) in (tuple, list) else query.parameter_count
    if count and query.rows <= count:
        return True
    grouped = _GROUPS.search(query.statement.text)
    return grouped is not None and grouped[1].strip('"`[]').lower() not in ("id", "uuid", "pk")


_BOUNDING = frozenset(("_iterator", "prefetch_one_level"))
# The last part of the first column that is grouped by; a count for each object groups by its key.
_GROUPS = re.compile(r"\bGROUP BY (?:[^\s,]+\.)?([^\s,.]+)", re.IGNORECASE)


def _put_into_words(finding: Finding) -> None:
    evidence = finding.evidence
    finding.message = (
        f"{evidence['query'] or 'a query'} has no LIMIT and returned {evidence['returned_rows']:,} rows "
        f"(unbounded_fetch_threshold_rows is {configuration.settings.unbounded_fetch_threshold_rows:,})"
    )


_FIX = "paginate it or slice the queryset ([:100]); to go through all rows, use .iterator(); to count, .count()"

DETECTOR = Detector(
    "unbounded_fetch",
    doc="A query without LIMIT returned `unbounded_fetch_threshold_rows` rows or more.",
    fix="Paginate, slice, or go through all rows with `.iterator()`.",
    not_found="`.iterator()`, aggregates, groups, queries with any LIMIT, prefetches, no more rows than given keys.",
    on_rows=_on_rows,
)
