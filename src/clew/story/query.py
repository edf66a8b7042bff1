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

    __slots__ = ("affected", "count", "duration_ns", "memo", "repeats", "site")

    def __init__(self, repeats: Repeats) -> None:
        self.repeats = repeats
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
        log: of its database.
    """

    __slots__ = (
        "count",
        "duration_ns",
        "first_params",
        "first_site",
        "first_writes",
        "log",
        "looks_left",
        "memo",
        "places",
        "statement",
        "way",
    )

    def __init__(self, statement: Statement, log: AliasLog) -> None:
        self.statement = statement
        self.log = log
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

    # Defaults are the class's, so that making one sets only what every query has.
    # How many runs of this query there have been in this request or task, this one included.
    count = 1
    # How many queries of its database there had been then.
    number = 0
    repeats: Repeats | None = None
    place: Place | None = None
    site: CallSite | None = None
    # OpenTelemetry's, where it is recorded.
    context: Any = None
    start_ns = 0
    duration_ns = 0
    # Rows it returned; -1 while nobody knows.
    rows = -1
    # Rows it wrote, and parameters it had; told once it is over.
    affected = 0
    parameter_count = 0
    error: BaseException | None = None
    # Whether its rows are read chunk by chunk, as `.iterator()` does.
    is_chunked = False
    # Its span, or the one it was folded into; None until it is over, and where nothing is recorded.
    span: Any = None
    # A driver instrumentation's span for it.
    taken_by: Any = None
    is_over = False
    # Whether it has changed a row, as far as the driver tells.
    has_written = False
    transaction: Transaction | None = None

    def __init__(
        self, local: LocalTrace, statement: Statement, connection: Any, params: Any, is_many: bool, frame: Any
    ) -> None:
        self.local = local
        self.statement = statement
        self.connection = connection
        self.alias: str = connection.alias
        self.params = params
        self.is_many = is_many
        self.frame: FrameType | None = frame
        # To be said on its span.
        self.findings: list[Finding] = []


class AliasLog:
    """What was asked of one database."""

    __slots__ = ("count", "duration_ns", "repeats")

    def __init__(self) -> None:
        self.count = 0
        self.duration_ns = 0
        self.repeats: dict[str, Repeats] = {}


class _Running(threading.local):
    """Of this thread: the query it is in, or, until the next, the one whose rows may not be read yet."""

    query: Query | None = None


running = _Running()
