"""What a light span holds, and what a processor, an exporter or a seam reads of it."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import Token
from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Span, SpanContext, SpanKind
from opentelemetry.trace.status import Status, StatusCode

from clew.spans.folded import Folded
from clew.spans.identity import StaticAttributes, TraceIdentity

if TYPE_CHECKING:
    from clew.spans.pipeline import Pipeline

logger = logging.getLogger("clew")
UNSET = Status(StatusCode.UNSET)


class LightRecord(Span):
    """A light span, as far as it is only read.

    Args:
        pipeline: where it goes when it ends.
        scope: the seam's instrumentation scope.
        trace: what it shares with the spans of its trace.
        above: the light span it is opened below, if it is one.
        parent: the context of the span it is below, where that is no light one.
        context: its own; None: made when somebody asks for it.
        attributes: owned by the span from now on.
        static: further attributes, shared by many spans and encoded already.
        start_ns: when it began; None: now.
    """

    __slots__ = (
        "_context",
        "_kept",
        "above",
        "barren",
        "children",
        "end_time",
        "error_below",
        "events",
        "findings",
        "folded",
        "folds",
        "held",
        "instrumentation_scope",
        "is_touched",
        "kind",
        "like",
        "links",
        "name",
        "parent_context",
        "parent_id",
        "pipeline",
        "run",
        "runs",
        "span_id",
        "start_time",
        "static",
        "status",
        "token",
        "trace",
    )

    def __init__(
        self,
        pipeline: Pipeline,
        scope: InstrumentationScope,
        name: str,
        trace: TraceIdentity,
        above: LightRecord | None = None,
        parent: SpanContext | None = None,
        context: SpanContext | None = None,
        attributes: dict[str, Any] | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        static: StaticAttributes | None = None,
        start_ns: int | None = None,
    ) -> None:
        self.pipeline = pipeline
        self.instrumentation_scope = scope
        self.name = name
        self.kind = kind
        self.trace = trace
        # The span it was opened below, where that is a light one; None once it has ended.
        self.above: Any = above
        self.parent_context = parent
        self._context = context
        self.span_id = b"" if context is None else context.span_id.to_bytes(8, "big")
        self.parent_id = b"" if parent is None else parent.span_id.to_bytes(8, "big")
        self.held: Any = {} if attributes is None else attributes
        self.static = static
        self.status = UNSET
        self.events: Any = ()
        self.links: Any = ()
        self.findings: tuple[Any, ...] = ()
        self.token: Token[Context] | None = None
        self.end_time: int | None = None
        self.folds: dict[Any, Any] | None = None
        self.folded: Folded | None = None
        # Further runs of what it stands for, and the cursor of those of what is folded in it (`folded_run`).
        self.run: Any = None
        self.runs: Any = None
        # `children` counts what asked for its context; `error_below` is the id of the exception a span below it
        # ended with, where no LocalTrace knows; `is_touched`: the application wrote on it, so it is kept.
        self.children = self.error_below = 0
        # While it is open: id of the frame that called what it stands for, if no line of the application is beyond it.
        self.barren = 0
        self.is_touched = False
        self._kept: dict[str, int]  # of its children, by kind, once they are many; not there before
        self.like: Any  # of a leaf (`leaf`)
        if not pipeline.has_plain_attributes:
            self._bounded()
        self.start_time = time_ns() if start_ns is None else start_ns

    @property
    def is_trivial(self) -> bool:
        """Nothing is under it, nothing was said on it, it did not fail."""
        said = self.events or self.links or self.folds or self.is_touched or self.findings
        return not (self.children or said) and self.status is UNSET

    @property
    def has_no_status(self) -> bool:
        """Whether nobody has set its status."""
        return self.status is UNSET

    @property
    def elapsed_ns(self) -> int:
        """Nanoseconds since it started."""
        return (self.end_time or time_ns()) - (self.start_time or 0)

    @property
    def context(self) -> SpanContext:
        """Context of the span; asking for it makes nothing its child."""
        return self._context or self._identified()

    @property
    def parent(self) -> SpanContext | None:
        """Context of its parent, None for the first span of a trace."""
        if self.parent_context is None:
            if self.above is not None:
                self.parent_context = self.above.context
            elif self.parent_id:
                self.parent_context = self.trace.context_of(self.parent_id)
        return self.parent_context

    @property
    def attributes(self) -> Mapping[str, Any]:
        """All its attributes."""
        held: Mapping[str, Any] = self.held
        return held if self.static is None else {**self.static.mapping, **held}

    @property
    def resource(self) -> Resource:
        """The provider's."""
        return self.pipeline.provider.resource

    def readable(self) -> ReadableSpan:
        """The span as the SDK's exporters and processors know it."""
        return ReadableSpan(
            self.name,
            self.context,
            self.parent,
            self.resource,
            self.held if self.static is None else self.attributes,
            self.events,
            self.links,
            self.kind,
            status=self.status,
            start_time=self.start_time,
            end_time=self.end_time,
            instrumentation_scope=self.instrumentation_scope,
        )

    def identify(self) -> bytes:
        """Its id, made when first asked for."""
        self.span_id = made = self.pipeline.new_id()
        return made

    def _identified(self) -> SpanContext:
        self._context = context = self.trace.context_of(self.span_id or self.identify())
        return context

    def _is_open(self) -> bool:
        if self.end_time is None:
            return True
        logger.debug("clew: %s was changed after its end; the change is lost", self.name)
        return False

    def _bounded(self) -> BoundedAttributes:
        attributes = self.held
        if type(attributes) is dict:
            limits = self.pipeline.limits
            attributes = self.held = BoundedAttributes(
                limits.max_span_attributes,
                self.attributes,
                immutable=False,
                max_value_len=limits.max_span_attribute_length,
            )
            self.static = None
        bounded: BoundedAttributes = attributes
        return bounded
