"""Takes secrets out of the SDK's spans; clew's light ones are redacted when something is recorded.

We stand in `_on_ending`, which every processor gets before any `on_end`: so the order of the processors does not
matter, and what any exporter sees has been redacted. The span is closed to its public setters there
(opentelemetry-python #5614), so its attribute container is changed directly.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from clew.engine import isolation, redaction
from clew.spans.light_span import LightSpan
from clew.sql.statement import statement

# A driver instrumentation records the text as it is given to the driver, with its literals.
_STATEMENTS = ("db.query.text", "db.statement")
_NOT_SQL = ("redis", "mongodb", "memcached", "elasticsearch", "opensearch", "dynamodb", "aws.dynamodb", "neo4j")
_PARAMETER = re.compile(r"%s|%\(\w|\?|\$\d|(?<!:):\w")


def _is_sql(attributes: Mapping[str, Any]) -> bool:
    return attributes.get("db.system.name", attributes.get("db.system", "")) not in _NOT_SQL


class RedactProcessor(SpanProcessor):
    """Redacts values under secret names, and secrets in texts of any kind. Never raises."""

    is_silent_on_light_spans = True

    def __init__(self) -> None:
        self.is_on = True

    def _on_ending(self, span: Any) -> None:
        if not self.is_on or type(span) is LightSpan:  # clew's own are redacted when something is written on them
            return
        try:
            self._redact(span)
        except Exception as error:  # noqa: BLE001 - ours must not reach the application
            isolation.report(error, "processors.redact")

    def _redact(self, span: ReadableSpan) -> None:
        span._name = _text(span._name)
        _redact_attributes(span._attributes)
        for event in span._events:
            event._name = _text(event._name)
            _redact_attributes(event.attributes)
        for link in span._links:
            _redact_attributes(link.attributes)
        status = span._status
        if status.description:
            redacted = _text(status.description)
            if redacted != status.description:
                span._status = type(status)(status.status_code, redacted)

    def shutdown(self) -> None:
        """Nothing to do: it keeps no spans."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing to do: it keeps no spans."""
        return True


def _redact_attributes(attributes: Any) -> None:
    held = getattr(attributes, "_dict", None)
    if held:
        for key in _STATEMENTS:
            text = held.get(key)
            if isinstance(text, str) and _is_sql(held):
                held[key] = statement(text, has_parameters=_PARAMETER.search(text) is not None, is_from_orm=False).text
        held.update(redaction.redactor.attributes(dict(held)))


def _text(value: Any) -> Any:
    return redaction.redactor.attribute("", value) if isinstance(value, str) else value
