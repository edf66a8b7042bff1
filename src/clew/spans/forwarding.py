"""A span in another one's place: what the application says on it goes to that one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import Span, SpanContext
from opentelemetry.trace.status import Status, StatusCode


class ForwardingSpan(Span):
    """The Span interface, for whoever asks for the current span; each has its own context and end."""

    __slots__ = ()

    def resolve(self) -> Span:
        """The span that is written on."""
        raise NotImplementedError

    def set_attribute(self, key: str, value: Any) -> None:
        """Set an attribute on its span."""
        self.resolve().set_attribute(key, value)

    def set_attributes(self, attributes: Mapping[str, Any]) -> None:
        """Set several attributes on its span."""
        self.resolve().set_attributes(attributes)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Add an event to its span."""
        self.resolve().add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        """Add a link to its span."""
        self.resolve().add_link(context, attributes)

    def update_name(self, name: str) -> None:
        """Rename its span."""
        self.resolve().update_name(name)

    def set_status(self, status: Status | StatusCode, description: str | None = None) -> None:
        """Set the status of its span."""
        self.resolve().set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,  # noqa: FBT001, FBT002 - OpenTelemetry's signature
    ) -> None:
        """Add an `exception` event to its span."""
        self.resolve().record_exception(exception, attributes, timestamp, escaped)
