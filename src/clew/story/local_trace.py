"""What one request or task knows about itself in this process: bounded counters beside its root span."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from opentelemetry.context import Context
from opentelemetry.trace import Span, get_current_span, set_span_in_context

from clew import attributes as names
from clew.engine import isolation
from clew.spans import folding, local_spans
from clew.spans.local_spans import LocalSpans, enter, leave
from clew.story import findings, one_loop
from clew.story.detector import watchers
from clew.story.findings import Finding, Findings, attach
from clew.story.queries import Queries

if TYPE_CHECKING:
    from clew.spans.scope import OpenSpan


Held = TypeVar("Held")


class Slot(Generic[Held]):
    """What one seam or detector keeps of a request or task between two of its hooks."""

    def get(self, local: LocalTrace) -> Held | None:
        """What is kept, None if nothing is."""
        return cast("Held | None", local.held.get(self))

    def put(self, local: LocalTrace, value: Held) -> Held:
        """Keep this; returns it."""
        local.held[self] = value
        return value

    def pop(self, local: LocalTrace) -> Held | None:
        """What was kept, which is kept no longer."""
        return cast("Held | None", local.held.pop(self, None))


class LocalTrace(LocalSpans):
    """State of one request or task.

    Args:
        root: its SERVER or CONSUMER span.
        max_spans: how many of clew's spans it may have below the root.
    """

    __slots__ = (
        "answered_error",
        "at_end",
        "cursor",
        "findings",
        "held",
        "is_recording",
        "is_view_reached",
        "published_in",
        "queries",
        "response_status",
        "root",
        "task_end",
        "uncaught_error",
        "where",
    )

    def __init__(self, root: OpenSpan, max_spans: int) -> None:
        super().__init__(max_spans)
        self.root = root
        self.is_recording = root.span.is_recording()
        # The middleware seam's position in the chain.
        self.cursor: Any = None
        # Of a request: whether its view was called, its status, the exception a response was made of, and one that
        # nobody has caught.
        self.is_view_reached = False
        self.response_status: int | None = None
        self.answered_error: BaseException | None = None
        self.uncaught_error: BaseException | None = None
        # Of a task at its end: outcome and exception; and the transactions its message was sent in, by alias.
        self.task_end: tuple[str, BaseException | None] | None = None
        self.published_in = ""
        # What `Slot`s hold; a handful of entries.
        self.held: dict[Any, Any] = {}
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
            found = self.queries = Queries()
        return found

    def of_findings(self) -> Findings:
        """Its findings."""
        found = self.findings
        if found is None:
            found = self.findings = Findings()
        return found

    def finding(self, key: Hashable) -> Finding | None:
        """The finding of that key, if there is one."""
        return None if self.findings is None else self.findings.get(key)

    def report(self, finding: Finding, key: Hashable, span: Any = None) -> bool:
        """Take a finding.

        Args:
            finding: what is wrong.
            key: one finding for each.
            span: an open span (light or the SDK's) to say it on; None: the caller places it, or the root says it.

        Returns:
            Whether it is new.
        """
        if not self.of_findings().add(finding, key):
            return False
        if span is not None:
            attach(span, finding)
        return True

    def finish_findings(self) -> None:
        """Put what was found on the root and into the metric."""
        if self.findings is not None:
            root = self.root if self.is_recording else None
            findings.finish(one_loop.gathered(list(self.findings)), root, self.where, self.exemplar_context())

    def exemplar_context(self) -> Context | None:
        """A context for measurements, so that their exemplars lead to this trace; None where it is not recorded."""
        span: Any = self.root.span
        return set_span_in_context(span) if self.is_recording and isinstance(span, Span) else None

    def finish(self) -> None:
        """Let every seam put its attributes on the root; after that the root may end."""
        folding.end_foreign(self)
        for say in self.at_end:
            try:
                say()
            except Exception as ours:  # noqa: BLE001 - ours must not reach the application, nor the next one's words
                isolation.report(ours, "at_end")
        self.at_end.clear()
        self.is_over, self.cursor = True, None
        for on_end in watchers.on_end:
            on_end(self)
        if self.queries is not None:
            self.queries.measure(self.where, self.exemplar_context())
            if self.is_recording:
                self.queries.summarise(self.root.note)
        self.finish_findings()
        if self.queries is not None:
            self.queries.over()
        if self.dropped:
            self.root.note(names.CLEW_SPANS_DROPPED, self.dropped)


current = cast("Callable[[], LocalTrace | None]", local_spans.current)

# Requests and tasks whose root is not clew's (a script's, a management command's, another framework's), by trace.
_by_trace: dict[int, LocalTrace] = {}
_MAX_BY_TRACE = 1000


def of_current_span() -> LocalTrace | None:
    """The local trace that the current span is in, where the root is not clew's."""
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


__all__ = ["LocalTrace", "Slot", "adopt", "current", "disown", "enter", "leave", "of_current_span"]
