"""One query being run: where it comes from, what it has read and written, and who is told of it."""

from __future__ import annotations

import threading
from collections.abc import Hashable
from typing import TYPE_CHECKING, Any

from clew.engine import isolation
from clew.source.call_site import CallSite, call_site
from clew.source.place import place_by_path
from clew.story.detector import watchers
from clew.story.findings import Finding
from clew.story.queries import MAX_STATEMENTS, Place, Queries, Repeats

if TYPE_CHECKING:
    from types import FrameType

    from clew.sql.statement import Statement
    from clew.story.local_trace import LocalTrace
    from clew.story.transactions import Transaction


# Where the walk begins: the caller of Django's wrapper, as `look` sees it.
_DEPTH = 4
_MAX_PLACES = 200
_MAX_VERDICTS = 10_000


class Query:
    """One query being run.

    Args:
        local: the request's or task's.
        statement: what its text says.
        connection: Django's.
        alias: its key in DATABASES.
        params: as the application gave them; not to be evaluated or recorded.
        frame: where in the stack it is run; None once it is over.
        is_many: `executemany`.
    """

    __slots__ = (
        *("affected", "alias", "connection", "context", "count", "duration_ns", "error", "findings", "frame"),
        *("has_written", "is_chunked", "is_many", "is_over", "local", "parameter_count", "params", "place"),
        *("repeats", "rows", "site", "span", "sql", "start_ns", "statement", "taken_by", "transaction"),
    )

    def __init__(
        self,
        local: LocalTrace,
        statement: Statement,
        connection: Any,
        alias: str,
        params: Any,
        frame: FrameType | None,
        *,
        is_many: bool,
    ) -> None:
        self.local, self.statement, self.connection, self.alias = local, statement, connection, alias
        self.params, self.is_many, self.frame = params, is_many, frame
        # How many runs of this query there have been in this request or task, this one included.
        self.count = 1
        # Its log, its place in the code, its line; OpenTelemetry's context, where it is recorded.
        self.repeats: Repeats | None = None
        self.place: Place | None = None
        self.site: CallSite | None = None
        self.context: Any = None
        # Rows it returned; -1 while nobody knows. And whether they are read chunk by chunk, as `.iterator()` does.
        self.rows = -1
        # Whether it has changed a row, as far as the driver tells.
        self.is_chunked = self.is_over = self.has_written = False
        # Rows it wrote, and parameters it had; told once it is over.
        self.start_ns = self.duration_ns = self.affected = self.parameter_count = 0
        self.error: BaseException | None = None
        self.transaction: Transaction | None = None
        # Its span, or the one it was folded into; None until it is over, and where nothing is recorded. And a driver
        # instrumentation's span for it.
        self.span: Any = None
        self.taken_by: Any = None
        # Its text as it was given, where the next run may be known by it.
        self.sql = ""
        # To be said on its span.
        self.findings: tuple[Finding, ...] = ()

    def report(self, finding: Finding, key: Hashable) -> bool:
        """Take a finding of the request or task that is about this query, and said on its span; whether it is new."""
        is_new = self.local.report(finding, key)
        if is_new:
            self.findings += (finding,)
        return is_new

    def look(self, repeats: Repeats) -> None:
        """Look where a repeated query comes from; tell the detectors."""
        statement = self.statement
        key, statement.way = place_by_path(self.frame, _DEPTH, statement.way)
        places = repeats.places
        if places is None:
            places = repeats.places = {}
        found = places.get(key)
        if found is None:
            if len(places) >= _MAX_PLACES:
                return
            found = places[key] = Place(repeats)
            found.site = call_site(self.frame)
            # The first run was not looked at; it counts where it came from the same line.
            # An unsampled request has not noted it: with one run before, it is taken for the loop's first.
            is_first_known = self.local.is_recording or repeats.count != 2
            if watchers.look_from > 1 and (not is_first_known or _is_same(repeats.first_site, found.site)):
                found.count, repeats.first_site = 1, None
        found.count += 1
        self.place = found
        self.site = found.site
        if self.local.is_recording:
            self._call_detectors(found)
        else:
            self._judge(found, key)

    def _judge(self, found: Place, key: int) -> None:
        """Tell the detectors of an unsampled query; what they said of its place in another request holds here too."""
        verdict = watchers.verdicts.get(key)
        if verdict is not None and found.count >= verdict[1]:
            found.repeats.looks_left = 0
            self.local.report(Finding(verdict[0], "", "", found.site), (verdict, key))
            return
        before = 0 if self.local.findings is None else len(self.local.findings)
        self._call_detectors(found)
        if found.count >= watchers.threshold and self.statement.is_select:
            found.repeats.looks_left = 0
        if (
            self.local.findings is not None
            and len(self.local.findings) > before
            and len(watchers.verdicts) < _MAX_VERDICTS
        ):
            watchers.verdicts[key] = self.local.findings.last.type, found.count

    def _call_detectors(self, found: Place) -> None:
        try:
            told = [on_repeat(self, found) for on_repeat in watchers.on_repeat]
            found.is_settled = all(told)
        except Exception as error:  # noqa: BLE001 - ours must not reach the application
            isolation.report(error, "a detector")

    def end(self, queries: Queries) -> None:
        """End the query: count its time, its rows and what it wrote."""
        took, repeats = self.duration_ns, self.repeats
        if repeats is not None:
            repeats.duration_ns += took
        if self.place is not None:
            self.place.duration_ns += took
        if took >= watchers.slow_ns:
            for on_slow in watchers.on_slow:
                on_slow(self)
        if self.rows > 0:
            self.count_rows(queries)
        statement = self.statement
        if self.has_written:
            queries.writes += 1
            queries.known.clear()
            if self.place is not None and self.affected > 0:
                self.place.affected += self.affected
            for table in statement.tables[:1]:
                if len(queries.written) < MAX_STATEMENTS:
                    self._note_written(table, queries)
                    queries.written_at[table] = queries.writes
        elif queries.written:
            for on_read in watchers.on_read:
                on_read(self)

    def _note_written(self, table: str, queries: Queries) -> None:
        key = table, self.alias
        if key not in queries.written_on:
            queries.written_on.add(key)
            if self.transaction is not None:
                self.transaction.written += (key,)
        queries.written[table] = self.alias

    def count_rows(self, queries: Queries) -> None:
        """Take account of the rows it has returned so far."""
        queries.rows += self.rows
        if self.rows >= watchers.many_rows:
            for on_rows in watchers.on_rows:
                on_rows(self)


class _Running(threading.local):
    """Of this thread: the query it is in, or, until the next, the one whose rows may not be read yet."""

    query: Query | None = None


running = _Running()


def _is_same(one: CallSite | None, other: CallSite | None) -> bool:
    return one is not None and other is not None and (one.path, one.line) == (other.path, other.line)
