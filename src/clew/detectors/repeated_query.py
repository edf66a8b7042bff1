"""`repeated_query`: the same query with the same parameters, again and again, though nothing it reads was written.

We stand where a query's text comes again in a request or task (story/queries.py), wherever in the code that is: the
settings are read by one function, the user's groups by another. Not found: loads of an object's relation from one line
(`n_plus_one`), reads after a write to one of its tables, refresh_from_db, locks, random and clock functions, polling
(code that sleeps), Django's sessions and users. False positives: a row that somebody else writes in the meantime, read
again on purpose without refresh_from_db. Missed: parameters of types we do not know.
"""

from __future__ import annotations

import functools
import re

from clew.detectors import n_plus_one, orm_frames, relation, scan, walks
from clew.detectors.parameters import digest
from clew.engine import configuration
from clew.source import frames
from clew.source.call_site import CallSite, call_site
from clew.source.stack import stack
from clew.story import findings
from clew.story.detector import SETTLED, Detector
from clew.story.findings import Finding
from clew.story.queries import Place, Repeats
from clew.story.query import Query

TYPE = "repeated_query"
_MAX_DIGESTS = 200
_MAX_LINES = 5
_MAX_LOOKS = 8
# Another answer each time, or asked for an effect.
_VOLATILE = re.compile(
    r"\b(?:RANDOM|RAND|NEXTVAL|CURRVAL|LASTVAL|NOW|SYSDATE|GETDATE|CLOCK_TIMESTAMP|STATEMENT_TIMESTAMP|TIMEOFDAY|UUID"
    r"|GEN_RANDOM_UUID|UUID_GENERATE_V\d\w*|PG_\w+|GET_LOCK|RELEASE_LOCK|LAST_INSERT_ID|LAST_INSERT_ROWID|CHANGES"
    r"|CURRENT_SETTING|SET_CONFIG|TXID_CURRENT)\s*\(|\bCURRENT_(?:TIMESTAMP|TIME|DATE)\b",
    re.IGNORECASE,
)


@functools.lru_cache(maxsize=1000)
def _is_volatile(text: str) -> bool:
    return _VOLATILE.search(text) is not None


class Same:
    """Runs with one set of parameters, and no write in between.

    Args:
        writes: how many there had been in the request or task.
        site: the line of the first of the runs.
    """

    __slots__ = ("count", "is_spread", "others", "place", "site", "writes")

    def __init__(self, writes: int, site: CallSite | None) -> None:
        self.count = 0
        self.writes = writes
        self.site = site
        self.others: list[CallSite] = []
        self.place: Place | None = None
        self.is_spread = False

    def add(self, site: CallSite | None, place: Place | None) -> None:
        """Count a run."""
        self.count += 1
        if place is not self.place:
            self.is_spread = self.place is not None
            self.place = place
        if site is not self.site and site is not None and len(self.others) < _MAX_LINES:
            self.others.append(site)

    def lines(self) -> tuple[str, ...]:
        """The lines the runs came from."""
        return tuple(dict.fromkeys([str(site) for site in (self.site, *self.others) if site is not None]))[:_MAX_LINES]


class Log:
    """Which parameters one query has been run with."""

    __slots__ = ("by_digest", "is_over", "looks", "reported")

    def __init__(self, repeats: Repeats) -> None:
        statement = repeats.statement
        self.by_digest: dict[int, Same] = {}
        self.looks = 0
        self.reported: int | None = None
        self.is_over = (
            not statement.is_select or not statement.tables or statement.locks_rows or _is_volatile(statement.text)
        )


def _on_repeat(query: Query, place: Place) -> bool:
    repeats = place.repeats
    log: Log | None = repeats.log
    if log is None:
        log = repeats.log = _begun(query, repeats)
    # The detector before this one has named the place; what its rows have in common is no second problem.
    if log.is_over or n_plus_one.is_judged(place):
        return SETTLED
    key = digest(query.statement, query.params)
    if key is None:
        return not SETTLED
    same = log.by_digest.get(key)
    writes = query.local.queries.writes if query.local.queries is not None else 0
    if same is None or (same.writes != writes and _is_written_since(query, same.writes)):
        if same is None and len(log.by_digest) >= _MAX_DIGESTS:
            return not SETTLED
        same = log.by_digest[key] = Same(writes, query.site)
    same.writes = writes
    same.add(query.site, place)
    if same.count >= configuration.settings.repeated_query_threshold and log.reported is None:
        _judge(query, place, log, key)
    return not SETTLED


def _begun(query: Query, repeats: Repeats) -> Log:
    """A log with the first run in it, which detectors do not see."""
    log = Log(repeats)
    # With a threshold of 2 the first run is told too, and counts by itself.
    if not log.is_over and repeats.count == 2 and not _is_written_since(query, repeats.first_writes):
        key = digest(repeats.statement, repeats.first_params)
        if key is not None:
            writes = query.local.queries.writes if query.local.queries is not None else 0
            same = log.by_digest[key] = Same(writes, repeats.first_site)
            same.add(repeats.first_site, None)
    return log


def _is_written_since(query: Query, writes: int) -> bool:
    """Whether one of its tables has been written after that many writes."""
    queries = query.local.queries
    return queries is not None and any(queries.written_at.get(table, 0) > writes for table in query.statement.tables)


def _judge(query: Query, place: Place, log: Log, key: int) -> None:
    same = log.by_digest[key]
    if log.looks >= _MAX_LOOKS or (not same.is_spread and n_plus_one.is_of_objects(place)):
        return
    # A look walks the stack, and nothing may come of it each time.
    log.looks += 1
    load = relation.classify(query)
    if load is None or load.kind == relation.REFRESHED or scan.is_waiting(query) or _is_frameworks(query):
        log.is_over = True
        return
    # Each of several objects asks for its own: that is no result to be kept.
    if load.is_of_objects:
        return
    log.reported = key
    _report(query, same, load.name)


def _is_frameworks(query: Query) -> bool:
    """Whether the query is Django's own, with nothing of the application's below the view or middleware."""
    if call_site(query.frame) is None:
        return True  # the admin's, of models that are Django's, too
    for frame in stack(query.frame):
        kind = frames.kind_of(frame)
        if kind in (frames.APPLICATION, frames.TEMPLATE_NODE, frames.JINJA, frames.THIRD_PARTY):
            return False
        if frame.f_globals.get("__name__", "").startswith(("django.contrib.auth", *orm_frames.SYSTEM)):
            return True
    return False


def _report(query: Query, same: Same, what: str) -> None:
    evidence = {"query_count": same.count, "query": query.statement.summary, "lines": same.lines()}
    if what:
        evidence["model"] = what
    refresh = functools.partial(_put_into_words, same, query.statement.summary or "a query")
    finding = Finding(TYPE, "", _FIX, query.site, evidence, findings.INFORMATION, refresh)
    finding.loops = walks.loops_around(query.frame)
    query.report(finding, (TYPE, query.alias, query.statement.fingerprint))


def _put_into_words(same: Same, summary: str, finding: Finding) -> None:
    lines = same.lines()
    finding.evidence.update(query_count=same.count, lines=lines)
    where = f", from {len(lines)} lines: {', '.join(lines)}" if len(lines) > 1 else ", from one line" if lines else ""
    finding.message = f"{summary} was run {same.count} times with the same parameters{where}"


_FIX = (
    "keep the result: in a variable, a cached_property, {% with %} in a template, or a cache for the request; a"
    " queryset that is gone through, counted and tested asks once if it is evaluated first (list(queryset))"
)

DETECTOR = Detector(
    TYPE,
    doc="The same query with the same parameters `repeated_query_threshold` times, from anywhere in a request or task,"
    " with no write to its tables in between.",
    fix="Keep the result in a variable, a `cached_property`, `{% with %}`, or a per-request cache.",
    not_found="Reads after a write, `refresh_from_db`, locking reads, random and clock functions, polling, Django's own"
    " session and user queries, parameters of unknown types.",
    on_repeat=_on_repeat,
)
