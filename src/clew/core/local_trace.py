"""What one request or task knows about itself in this process: bounded counters beside its root span.

A ContextVar, not the OpenTelemetry context, because it follows asyncio tasks and asgiref's threads the same way and
costs a hundredth of a microsecond to read; nothing in it crosses a process.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any

from opentelemetry.trace import get_current_span

from clew import attributes as names
from clew.engine import isolation

if TYPE_CHECKING:
    from clew.core.findings import Findings
    from clew.core.queries import Queries
    from clew.core.spans import OpenSpan


class LocalTrace:
    """State of one request or task.

    Args:
        root: its SERVER or CONSUMER span.
        max_spans: how many of clew's spans it may have below the root.
    """

    __slots__ = (
        "at_end",
        "cursor",
        "dropped",
        "error_id",
        "findings",
        "is_recording",
        "notes",
        "queries",
        "root",
        "spans_left",
        "where",
    )

    def __init__(self, root: OpenSpan, max_spans: int) -> None:
        self.root = root
        self.is_recording = root.span.is_recording()
        self.spans_left = max_spans
        self.dropped = 0
        # id of the exception the last ended span ended with: its event is recorded once, where it was raised.
        self.error_id = 0
        # The middleware seam's position in the chain.
        self.cursor: Any = None
        # What a seam keeps between two of its hooks, by the seam's own key; a handful of entries.
        self.notes: dict[str, Any] = {}
        # What seams have to say on the root before it ends.
        self.at_end: list[Callable[[], None]] = []
        # What it asked of its databases, and what is wrong with it; None until there is something.
        self.queries: Queries | None = None
        self.findings: Findings | None = None
        # Route or task, as attributes of metrics; known at the end.
        self.where: dict[str, str] = {}

    def of_queries(self) -> Queries:
        """The log of its queries."""
        found = self.queries
        if found is None:
            from clew.core.queries import Queries

            found = self.queries = Queries(self)
        return found

    def of_findings(self) -> Findings:
        """Its findings."""
        found = self.findings
        if found is None:
            from clew.core.findings import Findings

            found = self.findings = Findings(self)
        return found

    def finish(self) -> None:
        """Let every seam say what it has to say on the root; then the root may end."""
        for say in self.at_end:
            try:
                say()
            except Exception as ours:  # noqa: BLE001 - ours must not reach the application, nor the next one's words
                isolation.report(ours, "at_end")
        self.at_end.clear()
        self.cursor = None
        for on_end in ends:
            on_end(self)
        if self.queries is not None and self.is_recording:
            self.queries.summarise()
        if self.findings is not None:
            self.findings.finish()
        if self.dropped:
            self.root.note(names.CLEW_SPANS_DROPPED, self.dropped)


# Told of every request and task that ends; set by core/detector.py.
ends: tuple[Callable[[LocalTrace], None], ...] = ()
_current: ContextVar[LocalTrace | None] = ContextVar("clew_local_trace", default=None)

current = _current.get

# Requests and tasks whose root is not clew's (a script's, a management command's, another framework's), by trace.
_by_trace: dict[int, LocalTrace] = {}
_MAX_BY_TRACE = 1000


def of_current_span() -> LocalTrace | None:
    """The one whose root, not clew's, the current span is below."""
    if not _by_trace:
        return None
    return _by_trace.get(get_current_span().get_span_context().trace_id)


def adopt(local: LocalTrace) -> None:
    """Let `of_current_span` find this one, until `disown`."""
    if len(_by_trace) >= _MAX_BY_TRACE:
        _by_trace.pop(next(iter(_by_trace)), None)
    _by_trace[local.root.span.get_span_context().trace_id] = local


def disown(trace_id: int, span_id: int) -> LocalTrace | None:
    """Take back what was adopted for this root, if it was; returns it."""
    local = _by_trace.get(trace_id)
    if local is None or local.root.span.get_span_context().span_id != span_id:
        return None
    return _by_trace.pop(trace_id, None)


def enter(local: LocalTrace | None) -> Token[LocalTrace | None]:
    """Make `local` the current one; give the token to `leave`."""
    return _current.set(local)


def leave(token: Token[LocalTrace | None]) -> None:
    """Undo `enter`. A token of another context (a generator closed elsewhere) is ignored."""
    try:
        _current.reset(token)
    except ValueError:
        pass
