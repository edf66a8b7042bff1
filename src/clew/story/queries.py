"""What one request or task has asked of its databases: counters, and which query is being run again from where.

Counted here and not on spans, so that an unsampled request is watched too. A query that comes once costs one look-up;
only a repeated one is looked at, and only where it comes from the same place of the code again do detectors hear of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics

from clew import attributes as names
from clew.engine import isolation
from clew.source.call_site import CallSite, call_site, place_by_path
from clew.story import findings
from clew.story.detector import watchers
from clew.story.query import AliasLog, Place, Query, Repeats
from clew.version import VERSION

if TYPE_CHECKING:
    from clew.sql.statement import Statement
    from clew.story.local_trace import LocalTrace

_MAX_STATEMENTS = 5_000
# Where the walk begins: the caller of Django's wrapper, as `look` sees it.
_DEPTH = 4
_MAX_PLACES = 200
_MAX_VERDICTS = 10_000


class Queries:
    """All queries of one request or task.

    Args:
        local: the request or task.
    """

    __slots__ = (
        "aliases",
        "connections_opened",
        "count",
        "known",
        "local",
        "routed",
        "rows",
        "unread",
        "writes",
        "written",
        "written_at",
        "written_on",
    )

    def __init__(self, local: LocalTrace) -> None:
        self.local = local
        self.aliases: dict[str, AliasLog] = {}
        # Queries so far, of all aliases; and which of them has rows that nobody has counted yet.
        self.count = self.unread = 0
        self.rows = 0
        self.writes = 0
        self.connections_opened = 0
        # Tables written in this request or task, with the alias they were written on.
        self.written: dict[str, str] = {}
        # The number of the last write to each.
        self.written_at: dict[str, int] = {}
        self.written_on: set[tuple[str, str]] = set()
        # Where the site's routers have sent writes, by table.
        self.routed: dict[str, str] = {}
        # By text: queries that come again and need no more than a clock and a counter; the seam's.
        self.known: dict[str, Any] = {}

    @property
    def duration_ns(self) -> int:
        """Nanoseconds spent in them."""
        return sum([each.duration_ns for each in self.aliases.values()])

    def seen(self, alias: str, statement: Statement, params: Any) -> Repeats:
        """Count a query that is about to be run.

        Args:
            alias: of its database.
            statement: what its text says.
            params: kept of the first run, to be compared with those of later ones.
        """
        log = self.aliases.get(alias)
        if log is None:
            log = self.aliases[alias] = AliasLog()
        repeats = log.repeats.get(statement.fingerprint)
        if repeats is None:
            if len(log.repeats) >= _MAX_STATEMENTS:
                log.forget_oldest()
            repeats = log.repeats[statement.fingerprint] = Repeats(statement)
            repeats.first_params, repeats.first_writes = params, self.writes
        self.count += 1
        repeats.count += 1
        return repeats

    def look(self, query: Query, repeats: Repeats) -> None:
        """Look where a repeated query comes from; tell the detectors."""
        key, repeats.way = place_by_path(query.frame, _DEPTH, repeats.way)
        found = repeats.places.get(key)
        if found is None:
            if len(repeats.places) >= _MAX_PLACES:
                return
            found = repeats.places[key] = Place(repeats)
            found.site = call_site(query.frame)
            # The first run was not looked at; it counts where it came from the same line.
            # An unsampled request has not noted it: with one run before, it is taken for the loop's first.
            is_first_known = self.local.is_recording or repeats.count != 2
            if watchers.look_from > 1 and (not is_first_known or _is_same(repeats.first_site, found.site)):
                found.count, repeats.first_site = 1, None
        found.count += 1
        query.place = found
        query.site = found.site
        if self.local.is_recording:
            self._tell(query, found)
        else:
            self._judge(query, found, key)

    def _judge(self, query: Query, found: Place, key: int) -> None:
        """Tell the detectors of an unsampled query; what they said of its place in another request holds here too."""
        verdict = watchers.verdicts.get(key)
        if verdict is not None and found.count >= verdict[1]:
            found.repeats.looks_left = 0
            findings.report(self.local, findings.Finding(verdict[0], "", "", found.site), (verdict, key))
            return
        before = 0 if self.local.findings is None else len(self.local.findings)
        self._tell(query, found)
        if found.count >= watchers.threshold and query.statement.is_select:
            found.repeats.looks_left = 0
        if (
            self.local.findings is not None
            and len(self.local.findings) > before
            and len(watchers.verdicts) < _MAX_VERDICTS
        ):
            watchers.verdicts[key] = self.local.findings.last.type, found.count

    def _tell(self, query: Query, found: Place) -> None:
        try:
            told = [on_repeat(query, found) for on_repeat in watchers.on_repeat]
            found.is_settled = all(told)
        except Exception as error:  # noqa: BLE001 - ours must not reach the application
            isolation.report(error, "a detector")

    def count_only(self, alias: str, statement: Statement, params: Any) -> Repeats | None:
        """Count a query of an unsampled request that needs no look; None: it needs one, and was not counted."""
        log = self.aliases.get(alias)
        repeats = None if log is None else log.repeats.get(statement.fingerprint)
        if repeats is None:
            return None if watchers.look_from <= 1 else self.seen(alias, statement, params)
        if repeats.looks_left and repeats.count + 1 >= watchers.look_from:
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

    def end(self, query: Query) -> None:
        """Take account of a query that is over: its time, its rows, what it wrote."""
        took = query.duration_ns
        repeats = query.repeats
        if repeats is not None:
            repeats.duration_ns += took
        if query.place is not None:
            query.place.duration_ns += took
        if took >= watchers.slow_ns:
            for on_slow in watchers.on_slow:
                on_slow(query)
        if query.rows > 0:
            self.count_rows(query, query.rows)
        statement = query.statement
        if query.has_written:
            self.writes += 1
            self.known.clear()
            if query.place is not None and query.affected > 0:
                query.place.affected += query.affected
            for table in statement.tables[:1]:
                if len(self.written) < _MAX_STATEMENTS:
                    self._note_written(table, query)
                    self.written_at[table] = self.writes
        elif self.written:
            for on_read in watchers.on_read:
                on_read(query)

    def _note_written(self, table: str, query: Query) -> None:
        key = table, query.alias
        if key not in self.written_on:
            self.written_on.add(key)
            if query.transaction is not None:
                query.transaction.written += (key,)
        self.written[table] = query.alias

    def forget_written(self, keys: Iterable[tuple[str, str]]) -> None:
        """What was written first in a transaction or savepoint that has been rolled back."""
        for table, alias in keys:
            self.written_on.discard((table, alias))
            if self.written.get(table) == alias:
                del self.written[table]

    def count_rows(self, query: Query, rows: int) -> None:
        """Take account of rows a query has returned so far."""
        self.rows += rows
        if rows >= watchers.many_rows:
            for on_rows in watchers.on_rows:
                on_rows(query)

    def measure(self) -> None:
        """Record the time in the metric."""
        _duration().record(self.duration_ns / 1e9, self.local.where, self.local.exemplar_context())

    def summarise(self) -> None:
        """Say on the root what was asked."""
        note = self.local.root.note
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


_BOUNDS_S = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
_made: list[Any] = []


def _duration() -> Any:
    if not _made:
        meter = metrics.get_meter("clew.database", VERSION)
        text = "Time a request or task spent in its queries."
        _made.append(
            meter.create_histogram(names.CLEW_DB_DURATION, "s", text, explicit_bucket_boundaries_advisory=_BOUNDS_S)
        )
    return _made[0]


def _is_same(one: CallSite | None, other: CallSite | None) -> bool:
    return one is not None and other is not None and (one.path, one.line) == (other.path, other.line)
