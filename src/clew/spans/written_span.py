"""The public `Span` interface of a light span, for whoever asks for the current one: cleaned, limited, redacted."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.attributes import BoundedAttributes
from opentelemetry.sdk.trace import Event
from opentelemetry.sdk.util import BoundedList
from opentelemetry.trace import Link, SpanContext
from opentelemetry.trace.status import Status, StatusCode

from clew.engine import redaction
from clew.engine.redaction.exception_event import exception_attributes
from clew.spans.light_record import LightRecord


class WrittenSpan(LightRecord):
    """A light span, as far as anybody may write on it."""

    __slots__ = ()

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


def _redacted(key: str, value: Any) -> Any:
    return redaction.redactor.attribute(key, value)


def _clean(attributes: Mapping[str, Any] | None) -> Mapping[str, Any]:
    return {**attributes, **redaction.redactor.attributes(attributes)} if attributes else {}
