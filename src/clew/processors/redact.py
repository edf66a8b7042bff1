"""Takes secrets out of the attributes of other people's spans; clew's own are redacted when they are recorded.

We stand in `_on_ending`, which every processor gets before any `on_end`: so the order of the processors does not
matter, and what any exporter sees has been redacted. The span is closed to its public setters there
(opentelemetry-python #5614), so its attribute container is changed directly.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor

from clew.engine import isolation, redaction


class RedactProcessor(SpanProcessor):
    """Redacts values under secret names, URLs with credentials, and exception messages. Never raises."""

    is_silent_on_light_spans = True

    def __init__(self) -> None:
        self.is_on = True

    def _on_ending(self, span: Span) -> None:
        if not self.is_on:
            return
        try:
            scope = span.instrumentation_scope
            if scope is None or not scope.name.startswith("clew."):
                self._redact(span)
        except Exception as error:  # noqa: BLE001 - ours must not reach the application
            isolation.report(error, "processors.redact")

    def _redact(self, span: ReadableSpan) -> None:
        self._redact_attributes(span._attributes)
        for event in span._events:
            self._redact_attributes(event.attributes)
        status = span._status
        if status.description:
            redacted = redaction.redactor.text(status.description)
            if redacted != status.description:
                span._status = type(status)(status.status_code, redacted)

    def _redact_attributes(self, attributes: Any) -> None:
        held = getattr(attributes, "_dict", None)
        if not held:
            return
        redactor = redaction.redactor
        for key, value in list(held.items()):
            if redactor.is_secret_name(key):
                held[key] = redaction.REDACTED
            elif isinstance(value, str) and (":" in value or "=" in value):
                held[key] = redactor.query(value) if key == "url.query" else redactor.text(value)

    def shutdown(self) -> None:
        """Nothing is held."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is held."""
        return True
