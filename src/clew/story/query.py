"""One query being run, and what is kept of the runs before it: by text, by place in the code, by database."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from clew.story.detector import watchers

if TYPE_CHECKING:
    from types import FrameType

    from clew.source.call_site import CallPath, CallSite
    from clew.sql.statement import Statement
    from clew.story.findings import Finding
    from clew.story.local_trace import LocalTrace
    from clew.story.transactions import Transaction


class Place:
    """One place of the code that runs one query again and again.

    Args:
        repeats: all runs of that query in this request or task.
    """

    __slots__ = ("affected", "count", "duration_ns", "is_settled", "memo", "repeats", "site")

    def __init__(self, repeats: Repeats) -> None:
        self.repeats = repeats
        # Whether no detector has anything more to learn from its runs.
        self.is_settled = False
        self.site: CallSite | None = None
        self.count = 0
        self.duration_ns = 0
        # Rows its runs have written.
        self.affected = 0
        # What a detector keeps from one run to the next, by its type.
        self.memo: dict[str, Any] = {}


class Repeats:
    """All runs of one query (one fingerprint on one alias) in a request or task.

    Args:
        statement: what its text says.
    """

    __slots__ = (
        "connection",
        "count",
        "duration_ns",
        "first_params",
        "first_site",
        "first_writes",
        "looks_left",
        "memo",
        "places",
        "start_ns",
        "statement",
        "way",
    )

    def __init__(self, statement: Statement) -> None:
        self.statement = statement
        self.count = 0
        self.duration_ns = 0
        # Parameters of the first run; only ever compared, never recorded.
        self.first_params: Any = None
        self.first_site: CallSite | None = None
        # How many writes of the request or task came before it.
        self.first_writes = 0
        # How often an unsampled request still looks where it comes from.
        self.looks_left = watchers.write_looks if statement.is_write else watchers.looks
        self.places: dict[int, Place] = {}
        self.memo: dict[str, Any] = {}
        # How the last run came from the application.
        self.way: CallPath | None = None
        # Of a run that is only counted: Django's connection, and since when it runs.
        self.connection: Any = None
        self.start_ns = 0


class Query:
    """One query being run.

    Args:
        local: the request or task.
        statement: what its text says.
        connection: Django's connection.
        params: as the application gave them; not to be evaluated or recorded.
        is_many: `executemany`.
        frame: where in the stack it is run; None once it is over.
    """

    __slots__ = (
        "affected",
        "alias",
        "connection",
        "context",
        "count",
        "duration_ns",
        "error",
        "findings",
        "frame",
        "has_written",
        "is_chunked",
        "is_many",
        "is_over",
        "local",
        "number",
        "parameter_count",
        "params",
        "place",
        "repeats",
        "rows",
        "site",
        "span",
        "sql",
        "start_ns",
        "statement",
        "taken_by",
        "transaction",
    )

    def __init__(
        self,
        local: LocalTrace,
        statement: Statement,
        connection: Any,
        params: Any,
        is_many: bool,  # noqa: FBT001 - by name it would cost each query
        frame: Any,
    ) -> None:
        self.local = local
        self.statement = statement
        self.connection = connection
        self.alias: str = connection.alias
        self.params = params
        self.is_many = is_many
        self.frame: FrameType | None = frame
        # How many runs of this query there have been in this request or task, this one included.
        self.count = 1
        # How many queries there had been then.
        self.number = 0
        self.repeats: Repeats | None = None
        self.place: Place | None = None
        self.site: CallSite | None = None
        # OpenTelemetry's, where it is recorded.
        self.context: Any = None
        self.start_ns = self.duration_ns = 0
        # Rows it returned; -1 while nobody knows. And whether they are read chunk by chunk, as `.iterator()` does.
        self.rows = -1
        self.is_chunked = self.is_over = False
        # Whether it has changed a row, as far as the driver tells.
        self.has_written = False
        # Rows it wrote, and parameters it had; told once it is over.
        self.affected = self.parameter_count = 0
        self.error: BaseException | None = None
        # Its span, or the one it was folded into; None until it is over, and where nothing is recorded.
        self.span: Any = None
        # A driver instrumentation's span for it.
        self.taken_by: Any = None
        self.transaction: Transaction | None = None
        # Its text as it was given, where the next run may be known by it.
        self.sql = ""
        # To be said on its span.
        self.findings: list[Finding] = []


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
        """There are too many to be told apart: keep only the sums of the first."""
        oldest = self.repeats.pop(next(iter(self.repeats)))
        self._forgotten += oldest.count
        self._forgotten_ns += oldest.duration_ns


class _Running(threading.local):
    """Of this thread: the query it is in, or, until the next, the one whose rows may not be read yet."""

    query: Query | None = None


running = _Running()
