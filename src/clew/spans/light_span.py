"""A span that costs 2 microseconds: the public `Span` interface, and a `ReadableSpan` for whoever wants one.

The SDK's own span costs 15 to 20 microseconds, for locks, bounded containers and a second object at the end. A detail
span lives inside one thread of work and needs none of it until a user's code touches it: then its attributes become
the SDK's own BoundedAttributes, with its limits and its cleaning. Its ids are made when somebody asks for them.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import Token
from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Span, SpanContext, SpanKind
from opentelemetry.trace.propagation import _SPAN_KEY
from opentelemetry.trace.status import Status, StatusCode

from clew import attributes as names
from clew.engine import redaction
from clew.engine.redaction.exception_event import (
    CANCELLED,
    described,
    error_description,
    exception_attributes,
    type_name,
)
from clew.spans import local_spans
from clew.spans.current import attach, detach, get_current
from clew.spans.folded import Folded
from clew.spans.identity import StaticAttributes, TraceIdentity

if TYPE_CHECKING:
    from clew.spans.pipeline import Pipeline

logger = logging.getLogger("clew")
UNSET = Status(StatusCode.UNSET)


class LightSpan(Span):
    """A detail span under a recording span of the same process, or a root.

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
        above: LightSpan | None = None,
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
        self.folds: dict[Any, LightSpan] | None = None
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
        if not pipeline.has_plain_attributes:
            self._bounded()
        self.start_time = time_ns() if start_ns is None else start_ns

    @property
    def span(self) -> LightSpan:
        """The span itself; a `spans.SdkSpan` holds one of the SDK's here."""
        return self

    # The Span interface, for whoever asks for the current span.

    def get_span_context(self) -> SpanContext:
        """Context of the span; asked for by what becomes its child."""
        self.children += 1
        return self._context or self._identified()

    def is_recording(self) -> bool:
        """Whether the span has not ended."""
        return self.end_time is None

    def set_attribute(self, key: str, value: Any) -> None:
        """Set an attribute, cleaned and limited as the SDK does, and redacted: the application may have said it."""
        if self._is_open():
            self.is_touched = True
            self._bounded()[key] = _redacted(key, value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        if self._is_open():
            self.is_touched = True
            self._bounded().update(_clean(attributes))

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Add an event, redacted, within the provider's limits."""
        if self._is_open():
            self._event(_redacted("", name), _clean(attributes), timestamp)

    def _event(self, name: str, attributes: Any, timestamp: int | None) -> None:
        limits = self.pipeline.limits
        if not self.events:
            self.events = BoundedList(limits.max_events)
        bounded = BoundedAttributes(limits.max_event_attributes, attributes, max_value_len=limits.max_attribute_length)
        self.events.append(Event(name, bounded, timestamp))

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        """Add a link, within the provider's limits."""
        if not self._is_open() or not context.is_valid:
            return
        limits = self.pipeline.limits
        if not self.links:
            self.links = BoundedList(limits.max_links)
        if type(attributes) is not BoundedAttributes:
            attributes = BoundedAttributes(
                limits.max_link_attributes,
                _clean(attributes),
                max_value_len=limits.max_attribute_length,
            )
        self.links.append(Link(context, attributes))

    def update_name(self, name: str) -> None:
        """Rename the span."""
        if self._is_open():
            self.is_touched = True
            self.name = _redacted("", name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status; OK is final, UNSET is ignored, as in the SDK."""
        if not self._is_open() or self.status.status_code is StatusCode.OK:
            return
        given = status if isinstance(status, Status) else Status(status, description)
        if given.status_code is not StatusCode.UNSET:
            said = _redacted("", given.description)
            self.status = given if said is given.description else Status(given.status_code, said)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002 - OpenTelemetry's signature
    ) -> None:
        """Add an `exception` event, its message and traceback redacted."""
        if self._is_open():
            said = {**exception_attributes(exception, escaped=escaped), **_clean(attributes)}
            self._event("exception", said, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """End the span and hand it over."""
        if self._is_open():
            self.end_time = end_time if end_time is not None else time_ns()
            self.finish()

    # What the seams use.

    def enter(self, context: Context | None = None) -> None:
        """Make it the current span, in `context` or in what is current."""
        if context is None:
            context = get_current()
        self.token = attach(Context({**context, _SPAN_KEY: self}))

    def rename(self, name: str) -> None:
        """Give it a name that is known to be clean."""
        self.name = name

    def note(self, key: str, value: Any) -> None:
        """Set an attribute whose value is known to be clean."""
        attributes = self.held
        if type(attributes) is dict or self.end_time is None:
            attributes[key] = value

    def share(self, static: StaticAttributes) -> None:
        """Set attributes that are known to be clean, and that other spans have, too."""
        if self.static is None and type(self.held) is dict:
            self.static = static
        else:
            for key, value in static.mapping.items():
                self.note(key, value)

    def add(self, key: str, number: int) -> None:
        """Add to a number noted before, also on a span that waits in its parent to be folded."""
        held = self.held
        held[key] = held.get(key, 0) + number

    def take_finding(self, finding: Any) -> None:
        """Say a finding when the span ends; until then it may grow."""
        self.findings = (*self.findings, finding)

    def fail(self, error: BaseException) -> None:
        """Note that the span ends with this error; its event is recorded on the innermost span only."""
        local = local_spans.current()
        if local is not None and local.unexplained:
            local.explain(error)
        if isinstance(error, CANCELLED):
            self.note(names.CLEW_CANCELLED, value=True)
            return
        self.note(names.ERROR_TYPE, type_name(error))
        if id(error) not in (self.error_below, local.error_id if local is not None else 0):
            description, event = described(error)
            if self._is_open():
                self._event("exception", event, None)
        else:
            description = error_description(error)
        if local is not None:
            local.error_id = id(error)
        if self.above is not None:
            self.above.error_below = id(error)
        self.status = Status(StatusCode.ERROR, description)

    def close(self, error: BaseException | None = None) -> None:
        """End the span, and with it its time as the current one."""
        token = self.token
        if token is not None:
            self.token = None
            detach(token)
        if self.end_time is None:
            if error is not None:
                self.fail(error)
            self.end_time = time_ns()
            self.finish()

    def restore(self) -> None:
        """Make the span that was current before `enter` current again."""
        token, self.token = self.token, None
        if token is not None:
            detach(token)

    def discard(self) -> None:
        """End it without a trace. Only where `is_trivial`."""
        self.restore()
        self.end_time = time_ns()
        if self.above is not None:
            self.above.children -= 1
        self.give_back()

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

    # What a processor or exporter reads of it.

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

    def give_back(self) -> None:
        """It is no span of its own: it does not count against the limit of the trace."""
        self.above = None
        local = local_spans.current()
        if local is not None:
            local.spans_left += 1

    def identify(self) -> bytes:
        """Its id, made when first asked for."""
        self.span_id = made = self.pipeline.new_id()
        return made

    def _identified(self) -> SpanContext:
        self._context = context = self.trace.context_of(self.span_id or self.identify())
        return context

    def finish(self) -> None:
        """Hand it over, with what waits in it; it has ended."""
        ended: list[LightSpan] = []
        self._end_with(ended)
        if ended:
            self.pipeline.finish(ended)

    def _end_with(self, ended: list[LightSpan]) -> None:
        above = self.above
        if above is not None:
            if above.children > self.pipeline.max_spans_per_parent and self._is_surplus(above):
                return
            self.parent_id = above.span_id or above.identify()
            self.above = None
        if not self.span_id:
            self.span_id = self.pipeline.new_id()
        if self.folds:
            folds, self.folds = self.folds, None
            for span in folds.values():
                span._say_folded()
                span._end_with(ended)
        if self.findings:
            for finding in self.findings:
                finding.say(self._event, self.held)
            self.findings = ()
        ended.append(self)

    def _is_surplus(self, above: LightSpan) -> bool:
        """Whether its parent has enough of its kind, and nothing but its time would be lost with it."""
        kept: dict[str, int] | None = getattr(above, "_kept", None)
        if kept is None:
            kept = above._kept = {}
        kind, said = self.instrumentation_scope.name, self.events or self.folds or self.is_touched or self.findings
        is_plain = not (self.span_id or self.children or said) and self.status is UNSET
        stands_for_others = self.folded is not None and self.folded.count > 1
        if kept.get(kind, 0) < self.pipeline.max_spans_per_parent or not is_plain or stands_for_others:
            kept[kind] = kept.get(kind, 0) + 1
            return False
        if above.end_time is None:
            above.add(names.CLEW_SPANS_DROPPED_BELOW, 1)
        self.give_back()
        return True

    def finish_folded(self) -> None:
        """The parent has ended, in which it waited for equals of its."""
        self._say_folded()
        self.finish()

    def _say_folded(self) -> None:
        folded = self.folded
        if folded is not None and folded.count > 1:
            if folded.group is not None:
                self.name, self.static = folded.group.name, folded.group.static
            held = self.held  # not by `note`: it has ended, and a provider's limits have made it bounded
            for key, value in folded.attributes().items():
                held[key] = value
            self.end_time = self.start_time + folded.total_ns

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


def _redacted(key: str, value: Any) -> Any:
    return redaction.redactor.attribute(key, value)


def _clean(attributes: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return {**attributes, **redaction.redactor.attributes(attributes)} if attributes else {}
