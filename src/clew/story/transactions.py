"""What is known of a database transaction, and of a task that is being sent, by those who decide whether it is wrong.

A `Transaction` is kept on Django's connection itself for as long as it is open, not on the `Atomic` object (one
decorated view is run by many threads) and not on a span (an unsampled request is watched too).
"""

from __future__ import annotations

import functools
import sys
from dataclasses import dataclass, field
from time import time_ns
from types import FunctionType, MethodType
from typing import TYPE_CHECKING, Any

from clew.engine import needs
from clew.source import late_names
from clew.source.call_site import CallSite
from clew.source.senders import sending_site

if TYPE_CHECKING:
    from types import FrameType

    from clew.source.source_tree import Step
    from clew.spans.light_span import LightSpan
    from clew.spans.scope import OpenSpan
    from clew.sql.statement import Statement
    from clew.story.local_trace import LocalTrace

COMMITTED, ROLLED_BACK, RELEASED = "committed", "rolled_back", "released"
# Why it was rolled back.
EXCEPTION, CAUGHT, SET_ROLLBACK, EXPLICIT = "exception", "caught_exception", "set_rollback", "rollback"
CLOSED, COMMIT_FAILED, ABORTED = "connection_closed", "commit_failed", "aborted"
# What a task's message says when it is sent inside a transaction: its database. Nothing else of ours is in it.
PUBLISHED_HEADER = "clew-published-in-transaction"
# Kinds of calls to other services.
REMOTE, STORE, BROKER = "remote", "store", "broker"
_HELD = "_clew_transaction"
_MAX_REGISTERED = 1000


class _Watch:
    """Whether open transactions can be told."""

    is_possible = True


def _give_up() -> None:
    _Watch.is_possible = False


needs.declare(
    __name__,
    *needs.functions("django.db", "connections"),
    *needs.functions("django.utils.connection", "BaseConnectionHandler.settings", "BaseConnectionHandler.all"),
    *needs.attributes("django.db.backends.base.base", "BaseDatabaseWrapper", "atomic_blocks"),
    *needs.attributes("django.db.transaction", "Atomic", "_from_testcase"),
    consequence="what is sent or called inside an open transaction is not told",
    switch_off=_give_up,
)


class Transaction:
    """One transaction of one connection, from BEGIN to COMMIT or ROLLBACK; inside Django's TestCase, its savepoint.

    Args:
        alias: key in DATABASES.
        local: the request or task; None where there is none, only a recording span.
        site: the line that opened it; None for ATOMIC_REQUESTS.
    """

    # Defaults on the class: most of them are never set, and one is made for each transaction.
    end_ns = 0
    span: OpenSpan | None = None
    # Asked for only where an on_commit hook is linked to it: a span that has been asked does not fold.
    span_context: Any = None
    is_atomic_request = is_in_test = False
    # Autocommit is off, and the application commits itself.
    is_manual = False
    # A detector wants its span to be open for findings until the request or task has ended.
    is_held = False
    queries = writes = 0
    # When the first row was locked (SELECT ... FOR UPDATE).
    locked_ns = 0
    outcome = reason = error_type = ""
    # Class of the last error of a query in it, and where the application ran that.
    failure = ""
    failed_in: tuple[Step, ...] = ()
    # The first of its statements that changed a row, and its parameters; only ever compared.
    first_write: tuple[Statement, Any] | None = None
    # Tables, with their alias, that nothing in this request or task had written before it.
    written: tuple[tuple[str, str], ...] = ()
    # What rolled it back, while the detectors are told.
    error: BaseException | None = None
    # The seam's: the block that is being left, and how many hooks were there before it.
    leaving: Any = None
    hooks_at = 0
    # What on_commit hooks look up when they run, as it was when they were registered.
    registered: dict[int, list[tuple[Any, ...]]] = {}
    registrations = 0

    def __init__(self, alias: str, local: LocalTrace | None, site: CallSite | None, start_ns: int) -> None:
        self.alias = alias
        self.local = local
        self.site = site
        self.start_ns = start_ns
        # The seam's: blocks inside it.
        self.blocks: list[Any] = []
        # Calls to other services while it was open, by kind.
        self.calls: dict[str, Calls] = {}
        # What a detector keeps until the end of the transaction, by its type.
        self.memo: dict[str, Any] = {}

    @property
    def duration_ns(self) -> int:
        """Nanoseconds since it began, or until it ended."""
        return (self.end_ns or time_ns()) - self.start_ns

    def forget_written(self, since: int = 0) -> None:
        """It, or its savepoint that began after so many tables, has been rolled back."""
        undone, self.written = self.written[since:], self.written[:since]
        if undone and self.local is not None and self.local.queries is not None:
            self.local.queries.forget_written(undone)

    def register(self, function: Any) -> None:
        """Remember what the names that an on_commit hook looks up hold now."""
        function = hook_below(function)
        if function is None or self.registrations >= _MAX_REGISTERED:
            return
        if not self.registrations:
            self.registered = {}
        self.registrations += 1
        self.registered.setdefault(id(function), []).append(late_names.values(function))

    def called(self, kind: str, took_ns: int, name: str, site: CallSite | None) -> None:
        """Take account of a call to another service."""
        calls = self.calls.get(kind)
        if calls is None:
            calls = self.calls[kind] = Calls()
        calls.count += 1
        calls.duration_ns += took_ns
        if took_ns >= calls.longest_ns:
            calls.longest_ns, calls.name, calls.site = took_ns, name, site

    def release(self) -> None:
        """Return the span that was held back for a finding."""
        span: Any = self.span
        if self.is_held and span is not None:
            held: LightSpan = span
            held.finish()
        self.is_held = False
        self.span = None


@dataclass(slots=True, eq=False)
class Calls:
    """Calls of one kind to other services, while a transaction was open."""

    count: int = 0
    duration_ns: int = 0
    longest_ns: int = 0
    # Of the longest.
    name: str = ""
    site: CallSite | None = None


@dataclass(slots=True, eq=False)
class Publish:
    """A task that is about to be sent."""

    local: LocalTrace
    # The name it is sent under.
    task_name: str
    # The task's class or instance where this process knows it.
    task: Any
    # Where in the stack it is sent from; None once it is sent.
    frame: FrameType | None
    # It is not sent but run at once (task_always_eager).
    is_eager: bool
    # Its arguments, never to be recorded, and the other arguments of `Celery.send_task`.
    args: Any = None
    kwargs: Any = None
    options: dict[str, Any] = field(default_factory=dict)
    # This thread's connections with an open transaction.
    connections: list[Any] = field(default_factory=list)
    # The Celery app that sends it.
    app: Any = None
    # How long it took, and the bytes of its body; once it is sent.
    took_ns: int = 0
    body_bytes: int = 0
    # The PRODUCER span; once it is sent, the one that stands for it.
    span: OpenSpan | None = None
    _site: CallSite | None = None

    @property
    def site(self) -> CallSite | None:
        """The application's line that sends it."""
        if self._site is None and self.frame is not None:
            self._site = sending_site(self.frame)
        return self._site


def open_on(connection: Any) -> Transaction | None:
    """The transaction a connection is in, as far as it is watched."""
    found: Transaction | None = connection.__dict__.get(_HELD)
    return found


def hold(connection: Any, transaction: Transaction) -> None:
    """Keep a transaction that has begun."""
    connection.__dict__[_HELD] = transaction


def drop(connection: Any) -> None:
    """Drop a transaction that is over."""
    connection.__dict__.pop(_HELD, None)


def is_open(connection: Any) -> bool:
    """Whether a transaction of the application's is open; a test's own does not count."""
    for block in connection.atomic_blocks:
        if not block._from_testcase:
            return True
    found = open_on(connection)
    return found is not None and found.is_manual and found.writes > 0


def open_connections() -> list[Any]:
    """This thread's connections with an open transaction; none where Django is not loaded."""
    module = sys.modules.get("django.db")
    handler = getattr(module, "connections", None)
    # Until somebody has opened one, Django's settings need not even be configured.
    if handler is None or not _Watch.is_possible or "settings" not in vars(handler):
        return []
    return [each for each in handler.all(initialized_only=True) if is_open(each)]


def aliases_of(connections: list[Any]) -> str:
    """The databases of these connections, "default"; "" where there is none."""
    return ",".join([each.alias for each in connections]) if connections else ""


def hook_below(function: Any) -> Any:
    """The function or method that a hook is, below partials; None when it is something else."""
    while type(function) is functools.partial:
        function = function.func
    if type(function) is MethodType:
        return function if type(function.__func__) is FunctionType else None
    return function if type(function) is FunctionType else None
