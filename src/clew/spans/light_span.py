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
_UNSET = Status(StatusCode.UNSET)


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
        "_attributes",
        "_children",
        "_context",
        "_end_time",
        "_error_below",
        "_events",
        "_findings",
        "_folded",
        "_folds",
        "_id",
        "_instrumentation_scope",
        "_is_touched",
        "_kind",
        "_links",
        "_name",
        "_parent",
        "_parent_id",
        "_pipeline",
        "_run",
        "_runs",
        "_start_time",
        "_static",
        "_status",
        "_token",
        "_trace",
        "above",
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
        self._pipeline = pipeline
        self._instrumentation_scope = scope
        self._name = name
        self._kind = kind
        self._trace = trace
        # The span it was opened below, where that is a light one; None once it has ended.
        self.above = above
        self._parent = parent
        self._context = context
        self._id = b"" if context is None else context.span_id.to_bytes(8, "big")
        self._parent_id = b"" if parent is None else parent.span_id.to_bytes(8, "big")
        self._attributes: Any = {} if attributes is None else attributes
        self._static = static
        self._status = _UNSET
        self._events: Any = ()
        self._links: Any = ()
        self._findings: tuple[Any, ...] = ()
        self._token: Token[Context] | None = None
        self._end_time: int | None = None
        self._folds: dict[Any, LightSpan] | None = None
        self._folded: Folded | None = None
        # Further runs of what it stands for, and of what is folded in it (`folded_run`).
        self._run: Any = None
        self._runs: dict[int, Any] | None = None
        # `_children` counts what asked for its context; `_error_below` is the id of the exception a span below it
        # ended with, where no LocalTrace knows; `_is_touched`: the application wrote on it, so it is kept.
        self._children = self._error_below = 0
        self._is_touched = False
        if not pipeline.has_plain_attributes:
            self._bounded()
        self._start_time = time_ns() if start_ns is None else start_ns

    @property
    def span(self) -> LightSpan:
        """The span itself; a `spans.SdkSpan` holds one of the SDK's here."""
        return self

    # The Span interface, for whoever asks for the current span.

    def get_span_context(self) -> SpanContext:
        """Context of the span; asked for by what becomes its child."""
        self._children += 1
        return self._context or self._identified()

    def is_recording(self) -> bool:
        """Whether the span has not ended."""
        return self._end_time is None

    def set_attribute(self, key: str, value: Any) -> None:
        """Set an attribute, cleaned and limited as the SDK does, and redacted: the application may have said it."""
        if self._is_open():
            self._is_touched = True
            self._bounded()[key] = _redacted(key, value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        if self._is_open():
            self._is_touched = True
            self._bounded().update(_clean(attributes))

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Add an event, redacted, within the provider's limits."""
        if self._is_open():
            self._event(_redacted("", name), _clean(attributes), timestamp)

    def _event(self, name: str, attributes: Any, timestamp: int | None) -> None:
        limits = self._pipeline.limits
        if not self._events:
            self._events = BoundedList(limits.max_events)
        bounded = BoundedAttributes(limits.max_event_attributes, attributes, max_value_len=limits.max_attribute_length)
        self._events.append(Event(name, bounded, timestamp))

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        """Add a link, within the provider's limits."""
        if not self._is_open() or not context.is_valid:
            return
        limits = self._pipeline.limits
        if not self._links:
            self._links = BoundedList(limits.max_links)
        if type(attributes) is not BoundedAttributes:
            attributes = BoundedAttributes(
                limits.max_link_attributes,
                _clean(attributes),
                max_value_len=limits.max_attribute_length,
            )
        self._links.append(Link(context, attributes))

    def update_name(self, name: str) -> None:
        """Rename the span."""
        if self._is_open():
            self._is_touched = True
            self._name = _redacted("", name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status; OK is final, UNSET is ignored, as in the SDK."""
        if not self._is_open() or self._status.status_code is StatusCode.OK:
            return
        given = status if isinstance(status, Status) else Status(status, description)
        if given.status_code is not StatusCode.UNSET:
            said = _redacted("", given.description)
            self._status = given if said is given.description else Status(given.status_code, said)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add an `exception` event, its message and traceback redacted."""
        if self._is_open():
            said = {**exception_attributes(exception, escaped), **_clean(attributes)}
            self._event("exception", said, timestamp)

    def end(self, end_time: int | None = None) -> None:
        """End the span and hand it over."""
        if self._is_open():
            self._end_time = end_time if end_time is not None else time_ns()
            self._finish()

    # What the seams use.

    def enter(self, context: Context | None = None) -> None:
        """Make it the current span, in `context` or in what is current."""
        if context is None:
            context = get_current()
        self._token = attach(Context({**context, _SPAN_KEY: self}))

    def note(self, key: str, value: Any) -> None:
        """Set an attribute whose value is known to be clean."""
        attributes = self._attributes
        if type(attributes) is dict or self._end_time is None:
            attributes[key] = value

    def add(self, key: str, number: int) -> None:
        """Add to a number noted before, also on a span that waits in its parent to be folded."""
        held = self._attributes
        held[key] = held.get(key, 0) + number

    def take_finding(self, finding: Any) -> None:
        """Say a finding when the span ends; until then it may grow."""
        self._findings = (*self._findings, finding)

    def fail(self, error: BaseException) -> None:
        """Note that the span ends with this error; its event is recorded on the innermost span only."""
        local = local_spans.current()
        if isinstance(error, CANCELLED):
            self.note(names.CLEW_CANCELLED, True)
            return
        self.note(names.ERROR_TYPE, type_name(error))
        if id(error) not in (self._error_below, local.error_id if local is not None else 0):
            description, event = described(error)
            if self._is_open():
                self._event("exception", event, None)
        else:
            description = error_description(error)
        if local is not None:
            local.error_id = id(error)
        if self.above is not None:
            self.above._error_below = id(error)
        self._status = Status(StatusCode.ERROR, description)

    def close(self, error: BaseException | None = None) -> None:
        """End the span, and with it its time as the current one."""
        token = self._token
        if token is not None:
            self._token = None
            detach(token)
        if self._end_time is None:
            if error is not None:
                self.fail(error)
            self._end_time = time_ns()
            self._finish()

    def restore(self) -> None:
        """Make the span that was current before `enter` current again."""
        token, self._token = self._token, None
        if token is not None:
            detach(token)

    def discard(self) -> None:
        """End it without a trace. Only where `is_trivial`."""
        self.restore()
        self._end_time = time_ns()
        if self.above is not None:
            self.above._children -= 1
        self._give_back()

    @property
    def is_trivial(self) -> bool:
        """Nothing is under it, nothing was said on it, it did not fail."""
        said = self._events or self._links or self._folds or self._is_touched or self._findings
        return not (self._children or said) and self._status is _UNSET

    @property
    def has_no_status(self) -> bool:
        """Whether nobody has set its status."""
        return self._status is _UNSET

    @property
    def elapsed_ns(self) -> int:
        """Nanoseconds since it started."""
        return (self._end_time or time_ns()) - (self._start_time or 0)

    # What a processor or exporter reads of it.

    name = property(lambda self: self._name, doc="Name of the span.")
    kind = property(lambda self: self._kind, doc="Kind of the span.")
    instrumentation_scope = property(lambda self: self._instrumentation_scope, doc="The seam's scope.")
    start_time = property(lambda self: self._start_time, doc="Nanoseconds since the epoch.")
    end_time = property(lambda self: self._end_time, doc="Nanoseconds since the epoch, None while it is open.")
    status = property(lambda self: self._status, doc="Status of the span.")
    events = property(lambda self: tuple(self._events), doc="Its events.")
    links = property(lambda self: tuple(self._links), doc="Its links.")
    is_sampled = property(lambda self: bool(self._trace.flags & 1), doc="Whether it is exported.")

    @property
    def context(self) -> SpanContext:
        """Context of the span; asking for it makes nothing its child."""
        return self._context or self._identified()

    @property
    def parent(self) -> SpanContext | None:
        """Context of its parent, None for the first span of a trace."""
        if self._parent is None:
            if self.above is not None:
                self._parent = self.above.context
            elif self._parent_id:
                self._parent = self._trace.context_of(self._parent_id)
        return self._parent

    @property
    def attributes(self) -> Mapping[str, Any]:
        """All its attributes."""
        held: Mapping[str, Any] = self._attributes
        return held if self._static is None else {**self._static.mapping, **held}

    @property
    def resource(self) -> Resource:
        """The provider's."""
        return self._pipeline.provider.resource

    def readable(self) -> ReadableSpan:
        """The span as the SDK's exporters and processors know it."""
        return ReadableSpan(
            self._name,
            self.context,
            self.parent,
            self.resource,
            self._attributes if self._static is None else self.attributes,
            self._events,
            self._links,
            self._kind,
            status=self._status,
            start_time=self._start_time,
            end_time=self._end_time,
            instrumentation_scope=self._instrumentation_scope,
        )

    def _give_back(self) -> None:
        """It is no span of its own: it does not count against the limit of the trace."""
        self.above = None
        local = local_spans.current()
        if local is not None:
            local.spans_left += 1

    def identify(self) -> bytes:
        """Its id, made when first asked for."""
        self._id = made = self._pipeline.new_id()
        return made

    def _identified(self) -> SpanContext:
        self._context = context = self._trace.context_of(self._id or self.identify())
        return context

    def _finish(self) -> None:
        above = self.above
        if above is not None:
            self._parent_id = above._id or above.identify()
            self.above = None
        if not self._id:
            self._id = self._pipeline.new_id()
        if self._folds:
            folds, self._folds = self._folds, None
            for span in folds.values():
                span._finish_folded()
        if self._findings:
            for finding in self._findings:
                finding.say(self._event, self._attributes)
            self._findings = ()
        self._pipeline.finish(self)

    def _finish_folded(self) -> None:
        """The parent has ended, in which it waited for equals of its."""
        folded = self._folded
        if folded is not None and folded.count > 1:
            if folded.group is not None:
                self._name, self._static = folded.group.name, folded.group.static
            held = self._attributes  # not by `note`: it has ended, and a provider's limits have made it bounded
            for key, value in folded.attributes().items():
                held[key] = value
            self._end_time = self._start_time + folded.total_ns
        self._finish()

    def _is_open(self) -> bool:
        if self._end_time is None:
            return True
        logger.debug("clew: %s was changed after its end; the change is lost", self._name)
        return False

    def _bounded(self) -> BoundedAttributes:
        attributes = self._attributes
        if type(attributes) is dict:
            limits = self._pipeline.limits
            attributes = self._attributes = BoundedAttributes(
                limits.max_span_attributes,
                self.attributes,
                immutable=False,
                max_value_len=limits.max_span_attribute_length,
            )
            self._static = None
        bounded: BoundedAttributes = attributes
        return bounded


def _redacted(key: str, value: Any) -> Any:
    return redaction.redactor.attribute(key, value)


def _clean(attributes: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return {**attributes, **redaction.redactor.attributes(attributes)} if attributes else {}
