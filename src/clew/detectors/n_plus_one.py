"""`n_plus_one`: a query for each object of a list, where one for all of them would do.

We stand where a query comes again from the same place in the code: same text, same stack, up to loops and recursion
(source/place.py). The setting's number of runs makes it a finding; what is loaded is then told from the live
frames, once (relation.py). Not found: what Django repeats (deletions, uniqueness checks, batches, prefetches in
chunks), writes with their look-up (get_or_create: `write_in_loop`), reading piece by piece, polling, queues (scan.py),
the same parameters each time (`repeated_query`). False positives: a query whose result decides what the next one asks
for, like a walk along a list of unknown length. Missed: a helper that is called from many lines, once from each;
batches of `IN` for each row; what locks its rows.
"""

from __future__ import annotations

import dataclasses
import functools

from clew.detectors import relation, remedy, scan, walks
from clew.detectors.parameters import digest
from clew.detectors.relation import Load
from clew.engine import configuration
from clew.story import findings
from clew.story.detector import SETTLED, Detector
from clew.story.findings import Finding
from clew.story.local_trace import Slot
from clew.story.queries import Place
from clew.story.query import Query

TYPE = "n_plus_one"
_WARNING_MS = 50
_MAX_LOOKS = 4
# With the place in the code.
_LOADS: Slot[list[tuple[str, Load]]] = Slot()


class Watch:
    """What is known of one place that repeats a query.

    Args:
        query: the run that was looked at first.
        place: the place.
    """

    __slots__ = ("differs", "first", "is_over", "load", "looks")

    def __init__(self, query: Query, place: Place) -> None:
        self.first = digest(query.statement, query.params)
        # Parameters that cannot be compared are taken to differ: nobody asks with them in a loop for the same.
        self.differs = self.first is None
        if place.count > 1 and self.first != digest(place.repeats.statement, place.repeats.first_params):
            self.differs = True
        self.load: Load | None = None
        self.looks = 0
        self.is_over = not query.statement.is_select


def _on_repeat(query: Query, place: Place) -> bool:
    watch: Watch | None = place.memo.get(TYPE)
    if watch is None:
        watch = place.memo[TYPE] = Watch(query, place)
    if watch.is_over:
        return SETTLED
    if not watch.differs:
        watch.differs = digest(query.statement, query.params) != watch.first
    threshold = configuration.settings.n_plus_one_threshold
    # Before the last run, because the same parameters can still be those of two objects.
    if place.count >= threshold - (not watch.differs):
        _judge(watch, query, place, threshold)
    return watch.is_over


def _judge(watch: Watch, query: Query, place: Place, threshold: int) -> None:
    known = watch.load
    # Only an object's own load can turn out to be another object's with the same parameters.
    if known is None or (not watch.differs and known.is_of_objects and watch.looks < _MAX_LOOKS):
        watch.looks += 1
        watch.load = relation.classify(query)
        if watch.load is None:
            watch.is_over = True
            return
        if known is not None and known.owner != watch.load.owner:
            watch.differs = True
    if watch.differs and place.count >= threshold:
        watch.is_over = True
        if watch.load is not None and (watch.load.relation or not scan.is_scan(query, watch.load)):
            _report(query, place, watch.load)


def _report(query: Query, place: Place, load: Load) -> None:
    if load.kind in (relation.QUERIED, relation.RELATED):
        load = dataclasses.replace(load, varying=relation.varying(query, load.facts))
    evidence = {"query_count": place.count, "duration_ms": 0.0, "query": query.statement.summary}
    named = {"relation": load.relation, "model": load.model or load.target, "field": load.field}
    evidence.update({name: value for name, value in named.items() if value})
    loads, site = _LOADS.get(query.local) or _LOADS.put(query.local, []), str(query.site)
    if load.kind == relation.PREFETCHED and any(at == site and each.is_queryset for at, each in loads):
        return  # by the queryset whose one object is loaded there
    refresh = functools.partial(_put_into_words, place, load, loads)
    finding = Finding(TYPE, "", "", query.site, evidence, refresh=refresh, loops=walks.loops_around(query.frame))
    # One line that is reached on several ways, by a loop in each of two helpers, is one finding.
    if query.report(finding, (TYPE, load.name, site)):
        loads.append((site, load))


def _put_into_words(place: Place, load: Load, loads: list[tuple[str, Load]], finding: Finding) -> None:
    total = round(place.duration_ns / 1e6, 3)
    finding.evidence["query_count"], finding.evidence["duration_ms"] = place.count, total
    finding.severity = findings.WARNING if total >= _WARNING_MS else findings.INFORMATION
    finding.message = remedy.message(load, place.count, total)
    finding.fix = remedy.fix(load, [each for _, each in loads if each is not load])


def is_of_objects(place: Place) -> bool:
    """Whether the runs from a place load what differs from object to object: this detector's, however many."""
    watch: Watch | None = place.memo.get(TYPE)
    return watch is not None and watch.differs


def is_judged(place: Place) -> bool:
    """Whether there were enough runs for a finding."""
    watch: Watch | None = place.memo.get(TYPE)
    return watch is not None and watch.is_over and watch.differs


DETECTOR = Detector(
    TYPE,
    doc="A query for each object of a list: `n_plus_one_threshold` runs or more from one place in the code, with other"
    " parameters each time. Names the relation, the line of code or template, the count and the time.",
    fix="What the finding says: `.select_related()`, `.prefetch_related()`, `.annotate()`, `.in_bulk()`.",
    not_found="Batches and chunks, keyset pagination, polling, work queues, get_or_create (see `write_in_loop`), the"
    " same parameters each time (see `repeated_query`), a helper called from many lines.",
    on_repeat=_on_repeat,
)
