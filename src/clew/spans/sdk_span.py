"""A span of the SDK's own with the interface that seams use, for samplers that light spans cannot stand under."""

from __future__ import annotations

from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.trace import Span, Status, StatusCode

from clew import attributes as names
from clew.engine import isolation
from clew.engine.redaction.exception_event import CANCELLED, described, error_description, type_name
from clew.spans import local_spans
from clew.spans.current import attach, detach
from clew.spans.identity import StaticAttributes


class SdkSpan:
    """An SDK span with the interface seams use, for samplers that light spans cannot stand under, and for roots."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.token: Any = None
        self.barren = 0  # as a light span's
        # One locked, cleaned write to the SDK's span at the end instead of one for each attribute.
        self._notes: dict[str, Any] = {}

    is_trivial = False
    elapsed_ns = 1 << 62
    above = None

    def enter(self, context: Context | None = None) -> None:
        """Make it the current span, in `context` or in what is current."""
        self.token = attach(trace.set_span_in_context(self.span, context))

    def restore(self) -> None:
        """Make the span that was current before `enter` current again."""
        token, self.token = self.token, None
        if token is not None:
            detach(token)

    def note(self, key: str, value: Any) -> None:
        """Set an attribute, at the latest when the span ends."""
        self._notes[key] = value

    def share(self, static: StaticAttributes) -> None:
        """Set attributes that other spans have, too."""
        self._notes.update(static.mapping)

    def fail(self, error: BaseException) -> None:
        """Note that the span ends with this error; its event is recorded on the innermost span only."""
        local = local_spans.current()
        if local is not None and local.unexplained:
            local.explain(error)
        if isinstance(error, CANCELLED):
            self.note(names.CLEW_CANCELLED, value=True)
            return
        self.note(names.ERROR_TYPE, type_name(error))
        if local is None or local.error_id != id(error):
            description, event = described(error)
            self.span.add_event("exception", event)
        else:
            description = error_description(error)
        if local is not None:
            local.error_id = id(error)
        self.span.set_status(Status(StatusCode.ERROR, description))

    def close(self, error: BaseException | None = None) -> None:
        """End the span, and with it its time as the current one."""
        self.restore()
        try:
            if error is not None and self.span.is_recording():
                self.fail(error)
            if self._notes:
                self.span.set_attributes(self._notes)
                self._notes = {}
            self.span.end()
        except Exception as ours:  # noqa: BLE001 - a span processor's error must not reach the application
            isolation.report(ours, "end of a span")

    def discard(self) -> None:
        """End it; the SDK's spans cannot be taken back."""
        self.close()

    def rename(self, name: str) -> None:
        """Give it another name."""
        self.span.update_name(name)
