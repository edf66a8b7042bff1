"""What one request or task has asked of its databases: counters, and which query is being run again from where.

Counted here and not on spans, so that an unsampled request is watched too. A query that comes once costs one look-up;
only a repeated one is looked at, and only where it comes from the same place of the code again do detectors hear of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clew import attributes as names
from clew.engine.metric import HISTOGRAM, Metric
from clew.story.detector import watchers

if TYPE_CHECKING:
    from collections.abc import Callable

    from clew.source.call_site import CallSite
    from clew.sql.statement import Statement

MAX_STATEMENTS = 5_000
_TEXT = "Time a request or task spent in its queries."
_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_WHERE = (names.HTTP_ROUTE, names.CELERY_TASK_NAME)
_DURATION = Metric("clew.database", names.CLEW_DB_DURATION, HISTOGRAM, "s", _TEXT, *_WHERE, bounds=_BOUNDS_S)


@dataclass(slots=True, eq=False)
class Place:
    """One place of the code that runs one query again and again."""

    # All runs of that query in this request or task.
    repeats: Repeats
    # Whether no detector has anything more to learn from its runs.
    is_settled: bool = False
    site: CallSite | None = None
    count: int = 0
    duration_ns: int = 0
    # Rows its runs have written.
    affected: int = 0
    # What a detector keeps from one run to the next, by its type.
    memo: dict[str, Any] = field(default_factory=dict)


class Repeats:
    """All runs of one query (one fingerprint on one alias) in a request or task.

    Args:
        statement: what its text says.
        first_params: of the first run; only ever compared, never recorded.
        first_writes: how many writes of the request or task came before it.
        looks_left: how often an unsampled request still looks where it comes from.
    """

    __slots__ = (
        *("connection", "count", "duration_ns", "first_params", "first_site", "first_writes", "log", "looks_left"),
        *("places", "start_ns", "statement", "text"),
    )

    def __init__(self, statement: Statement, first_params: Any, first_writes: int, looks_left: int) -> None:
        self.statement, self.first_params = statement, first_params
        self.first_writes, self.looks_left = first_writes, looks_left
        self.count = self.duration_ns = self.start_ns = 0
        # Of the first run, and of those that were looked at; None until there is one.
        self.first_site: CallSite | None = None
        self.places: dict[int, Place] | None = None
        # As the last of these was given: where it differs each time, the next will not be known by it.
        self.text = ""
        # What `repeated_query` keeps from one run to the next.
        self.log: Any = None
        # Django's, of a run that is only counted and began at `start_ns`.
        self.connection: Any = None


class AliasLog:
    """What was asked of one database."""

    __slots__ = ("_forgotten", "_forgotten_ns", "repeats")

    def __init__(self) -> None:
        self.repeats: dict[str, Repeats] = {}
        self._forgotten = self._forgotten_ns = 0

    @property
    def count(self) -> int:
        """Queries so far."""
        return self._forgotten + sum([each.count for each in self.repeats.values()])

    @property
    def duration_ns(self) -> int:
        """Nanoseconds spent in them."""
        return self._forgotten_ns + sum([each.duration_ns for each in self.repeats.values()])

    def forget_oldest(self) -> None:
        """Keep only the sums of the oldest query, because there are too many."""
        oldest = self.repeats.pop(next(iter(self.repeats)))
        self._forgotten += oldest.count
        self._forgotten_ns += oldest.duration_ns


@dataclass(slots=True, eq=False)
class Queries:
    """All queries of one request or task."""

    aliases: dict[str, AliasLog] = field(default_factory=dict)
    # Queries so far, of all aliases; and the last of them, if it is one whose rows are counted.
    count: int = 0
    unread: Any = None
    rows: int = 0
    writes: int = 0
    connections_opened: int = 0
    # Tables written in this request or task, with the alias they were written on.
    written: dict[str, str] = field(default_factory=dict)
    # The number of the last write to each.
    written_at: dict[str, int] = field(default_factory=dict)
    written_on: set[tuple[str, str]] = field(default_factory=set)
    # Where the site's routers have sent writes, by table.
    routed: dict[str, str] = field(default_factory=dict)
    # By text: queries that come again and need no more than a clock and a counter; the seam's.
    known: dict[str, Any] = field(default_factory=dict)

    @property
    def duration_ns(self) -> int:
        """Nanoseconds spent in them."""
        return sum([each.duration_ns for each in self.aliases.values()])

    def over(self) -> None:
        """Nothing more is to be known again: what is kept for that leads back to the request, and would be garbage."""
        self.unread = None
        self.known.clear()
        for log in self.aliases.values():
            for repeats in log.repeats.values():
                repeats.places = repeats.log = None

    def seen(self, alias: str, statement: Statement, params: Any) -> Repeats:
        """Count a query that is about to be run.

        Args:
            alias: of its database.
            statement: what its text says.
            params: kept of the first run, to be compared with those of later ones.
        """
        log = self.aliases.get(alias)
        repeats = None if log is None else log.repeats.get(statement.fingerprint)
        if repeats is None:
            repeats = self._first_of(alias, statement, params)
        self.count += 1
        repeats.count += 1
        return repeats

    def _first_of(self, alias: str, statement: Statement, params: Any) -> Repeats:
        log = self.aliases.get(alias)
        if log is None:
            log = self.aliases[alias] = AliasLog()
        elif len(log.repeats) >= MAX_STATEMENTS:
            log.forget_oldest()
        looks = watchers.write_looks if statement.is_write else watchers.looks
        made = log.repeats[statement.fingerprint] = Repeats(statement, params, self.writes, looks)
        return made

    def count_only(self, alias: str, statement: Statement, params: Any) -> Repeats | None:
        """Count a query of an unsampled request that needs no look; None: it needs one, and was not counted."""
        log = self.aliases.get(alias)
        repeats = None if log is None else log.repeats.get(statement.fingerprint)
        if repeats is None:
            if watchers.look_from <= 1:
                return None
            repeats = self._first_of(alias, statement, params)
        elif repeats.looks_left and repeats.count + 1 >= watchers.look_from:
            return None
        repeats.count += 1
        self.count += 1
        return repeats

    def is_worth_a_look(self, repeats: Repeats) -> bool:
        """Whether an unsampled request looks where this repeated query comes from: often enough to find, no more."""
        if not repeats.looks_left:
            return False
        repeats.looks_left -= 1
        return True

    def forget_written(self, keys: Iterable[tuple[str, str]]) -> None:
        """What was written first in a transaction or savepoint that has been rolled back."""
        for table, alias in keys:
            self.written_on.discard((table, alias))
            if self.written.get(table) == alias:
                del self.written[table]

    def measure(self, where: dict[str, str], exemplar: Any) -> None:
        """Record the time in the metric."""
        _DURATION.record(self.duration_ns / 1e9, where, exemplar)

    def summarise(self, note: Callable[[str, Any], None]) -> None:
        """Say on the root, by `note`, what was asked."""
        note(names.CLEW_DB_QUERY_COUNT, self.count)
        note(names.CLEW_DB_DURATION_MS, round(self.duration_ns / 1e6, 3))
        if self.rows:
            note(names.CLEW_DB_ROWS, self.rows)
        if self.connections_opened:
            note(names.CLEW_DB_CONNECTIONS_OPENED, self.connections_opened)
        if len(self.aliases) > 1 or "default" not in self.aliases:
            for alias, log in sorted(self.aliases.items()):
                note(names.db_alias_query_count(alias), log.count)
                note(names.db_alias_duration_ms(alias), round(log.duration_ns / 1e6, 3))
