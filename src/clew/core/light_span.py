"""A span that costs 3 microseconds: the public `Span` interface, and the `ReadableSpan` it is when it has ended.

The SDK's own span costs 15 to 20 microseconds, for locks, bounded containers and a second object at the end. A detail
span lives inside one thread of work and needs none of it until a user's code touches it: then its attributes become
the SDK's own BoundedAttributes, with its limits and its cleaning.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from contextvars import Token
from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.util import BoundedList
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, Span, SpanContext, SpanKind
from opentelemetry.trace.propagation import _SPAN_KEY
from opentelemetry.trace.status import Status, StatusCode

from clew import attributes as names
from clew.core import findings, folding, local_trace
from clew.engine.exception_event import CANCELLED, error_description, exception_attributes, type_name

if TYPE_CHECKING:
    from clew.core.pipeline import Pipeline

logger = logging.getLogger("clew")
_UNSET = Status(StatusCode.UNSET)


class LightSpan(ReadableSpan, Span):
    """A detail span under a recording span of the same process.

    Args:
        pipeline: where it goes when it ends.
        scope: the seam's instrumentation scope.
        context: its own; None: one below its parent's, made when somebody asks for it.
        parent: its parent's; None for the first span of a trace.
        attributes: owned by the span from now on.
    """

    _instrumentation_info = None
    _status = _UNSET
    _events: Any = ()
    _links: Any = ()
    _end_time: int | None = None
    _token: Token[Context] | None = None
    _folds: dict[Any, LightSpan] | None = None
    _folded = 0
    _folded_ns = 0
    _folded_first_ns = 0
    _folded_last_ns = 0
    _findings: tuple[Any, ...] = ()
    _children = 0
    # The span it was opened below, where that is a light one; None once it has ended.
    above: LightSpan | None = None
    # Whether the application wrote on it: then it is kept, whatever it is.
    _is_touched = False
    # id of the exception a span below it ended with, where no LocalTrace knows.
    _error_below = 0

    def __init__(
        self,
        pipeline: Pipeline,
        scope: InstrumentationScope,
        name: str,
        context: SpanContext | None,
        parent: SpanContext | None,
        attributes: dict[str, Any] | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
    ) -> None:
        self._pipeline = pipeline
        self._instrumentation_scope = scope
        self._name = name
        self._kind = kind
        self._parent = parent
        self._context = context
        self._attributes: Any = {} if attributes is None else attributes
        if not pipeline.has_plain_attributes:
            self._bounded()
        self._start_time = time_ns()

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
        """Set an attribute, cleaned and limited as the SDK does."""
        if self._is_open():
            self._is_touched = True
            self._bounded()[key] = value

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes."""
        if self._is_open():
            self._is_touched = True
            self._bounded().update(attributes)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Add an event, within the provider's limits."""
        if self._is_open():
            self._event(name, attributes, timestamp)

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
                limits.max_link_attributes, attributes, max_value_len=limits.max_attribute_length
            )
        self._links.append(Link(context, attributes))

    def update_name(self, name: str) -> None:
        """Rename the span."""
        if self._is_open():
            self._is_touched = True
            self._name = name

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status; OK is final, UNSET is ignored, as in the SDK."""
        if not self._is_open() or self._status.status_code is StatusCode.OK:
            return
        given = status if isinstance(status, Status) else Status(status, description)
        if given.status_code is not StatusCode.UNSET:
            self._status = given

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Add an `exception` event, its message and traceback redacted."""
        self.add_event("exception", {**exception_attributes(exception, escaped), **(attributes or {})}, timestamp)

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

    def fail(self, error: BaseException) -> None:
        """Note that the span ends with this error; its event is recorded on the innermost span only."""
        local = local_trace.current()
        if isinstance(error, CANCELLED):
            self.note(names.CLEW_CANCELLED, True)
            return
        self.note(names.ERROR_TYPE, type_name(error))
        if id(error) not in (self._error_below, local.error_id if local is not None else 0):
            self.record_exception(error, escaped=True)
        if local is not None:
            local.error_id = id(error)
        if self.above is not None:
            self.above._error_below = id(error)
        self._status = Status(StatusCode.ERROR, error_description(error))

    def close(self, error: BaseException | None = None) -> None:
        """End the span, and with it its time as the current one."""
        self.restore()
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

    def close_folded(self, parent: Any, key: Any, error: BaseException | None = None) -> None:
        """End it; equal siblings (same `key`) below a light `parent` become one span (see `folding`)."""
        foldable = (
            error is None and isinstance(parent, LightSpan) and parent.is_recording() and folding.is_foldable(self)
        )
        if not foldable:
            self.close(error)
            return
        self.restore()
        self._end_time = time_ns()
        folding.fold(self, parent, key)

    def _give_back(self) -> None:
        """It is no span of its own: it does not count against the limit of the trace."""
        self.above = None
        local = local_trace.current()
        if local is not None:
            local.spans_left += 1

    def _identified(self) -> SpanContext:
        above = self._parent
        assert above is not None
        self._context = context = SpanContext(
            above.trace_id, self._pipeline.new_span_id(), False, above.trace_flags, above.trace_state
        )
        return context

    def _finish(self) -> None:
        self.above = None
        if self._context is None:
            self._identified()
        folds, self._folds = self._folds, None
        if folds:
            folding.finish(folds)
        if self._findings:
            findings.write(self)
        self._pipeline.finish(self)

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
                attributes,
                immutable=False,
                max_value_len=limits.max_span_attribute_length,
            )
        bounded: BoundedAttributes = attributes
        return bounded
