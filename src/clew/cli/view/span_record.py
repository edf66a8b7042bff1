"""One finished span in a form that needs neither the SDK nor protobuf to be read.

`clew view`, `clew demo` and the pytest plugin all show spans, but get them differently: over OTLP from
another process, or from the SDK in this one. Both become a `SpanRecord`, so that a person sees the same tree
everywhere.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
    from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, Span
    from opentelemetry.sdk.trace import ReadableSpan

Event = tuple[str, int, dict[str, Any]]
Link = tuple[str, str, dict[str, Any]]

_KINDS = ("INTERNAL", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER")
_STATUSES = ("UNSET", "OK", "ERROR")


@dataclass(frozen=True, slots=True)
class SpanRecord:
    """A finished span.

    Args:
        trace_id: 32 hex digits.
        span_id: 16 hex digits.
        parent_span_id: 16 hex digits, or "" for a root.
        name: the span's name as it was sent (not made safe for a terminal).
        kind: SERVER, CLIENT, PRODUCER, CONSUMER or INTERNAL.
        start_ns: nanoseconds since the epoch.
        end_ns: nanoseconds since the epoch, 0 if it was not sent.
        status: UNSET, OK or ERROR.
        status_message: the status's description.
        attributes: the span's attributes.
        events: (name, nanoseconds since the epoch, attributes) of each event.
        links: (trace id, span id, attributes) of each link.
        scope: the instrumentation scope's name.
        service: `service.name` of the resource.
        resource: the resource's attributes (`process.pid` among them).
    """

    trace_id: str
    span_id: str
    parent_span_id: str
    name: str
    kind: str
    start_ns: int
    end_ns: int
    status: str = "UNSET"
    status_message: str = ""
    attributes: dict[str, Any] = field(default_factory=dict)
    events: tuple[Event, ...] = ()
    links: tuple[Link, ...] = ()
    scope: str = ""
    service: str = ""
    resource: dict[str, Any] = field(default_factory=dict)

    @property
    def duration_ns(self) -> int | None:
        """Nanoseconds from start to end (negative if the clocks disagree), None without both times."""
        return self.end_ns - self.start_ns if self.end_ns and self.start_ns else None

    @property
    def process(self) -> tuple[str, str]:
        """Service name and process id, both as text; the process id is "" if it was not sent."""
        return self.service, str(self.resource.get("process.pid", ""))


def from_otlp(resource_spans: Iterable[ResourceSpans]) -> list[SpanRecord]:
    """Read the spans of an OTLP export request.

    Args:
        resource_spans: the request's `resource_spans`.

    Returns:
        The spans in the order they came; a span without a valid trace or span id is left out, as OTLP asks.
    """
    records = []
    for group in resource_spans:
        # One dictionary for all spans of a process: a batch has hundreds.
        resource = _attributes(group.resource.attributes)
        for scope_spans in group.scope_spans:
            for span in scope_spans.spans:
                if _is_id(span.trace_id, 16) and _is_id(span.span_id, 8):
                    records.append(_from_otlp_span(span, scope_spans.scope.name, resource))
    return records


def from_readable(span: ReadableSpan) -> SpanRecord:
    """Read one finished SDK span.

    Args:
        span: what a span processor's `on_end` or an exporter gets.
    """
    resource = dict(span.resource.attributes)
    context, parent = span.get_span_context(), span.parent
    return SpanRecord(
        trace_id=f"{context.trace_id:032x}" if context else "",
        span_id=f"{context.span_id:016x}" if context else "",
        parent_span_id=f"{parent.span_id:016x}" if parent else "",
        name=span.name,
        kind=span.kind.name,
        start_ns=span.start_time or 0,
        end_ns=span.end_time or 0,
        status=span.status.status_code.name,
        status_message=span.status.description or "",
        attributes=dict(span.attributes or {}),
        events=tuple((event.name, event.timestamp, dict(event.attributes or {})) for event in span.events),
        links=tuple(
            (f"{link.context.trace_id:032x}", f"{link.context.span_id:016x}", dict(link.attributes or {}))
            for link in span.links
        ),
        scope=span.instrumentation_scope.name if span.instrumentation_scope else "",
        service=str(resource.get("service.name", "")),
        resource=resource,
    )


def _from_otlp_span(span: Span, scope: str, resource: dict[str, Any]) -> SpanRecord:
    parent = span.parent_span_id
    return SpanRecord(
        trace_id=span.trace_id.hex(),
        span_id=span.span_id.hex(),
        parent_span_id=parent.hex() if any(parent) else "",
        name=span.name,
        kind=_nth(_KINDS, span.kind),
        start_ns=span.start_time_unix_nano,
        end_ns=span.end_time_unix_nano,
        status=_nth(_STATUSES, span.status.code),
        status_message=span.status.message,
        attributes=_attributes(span.attributes),
        events=tuple((e.name, e.time_unix_nano, _attributes(e.attributes)) for e in span.events),
        links=tuple((k.trace_id.hex(), k.span_id.hex(), _attributes(k.attributes)) for k in span.links),
        scope=scope,
        service=str(resource.get("service.name", "")),
        resource=resource,
    )


def _is_id(raw: bytes, length: int) -> bool:
    return len(raw) == length and any(raw)


def _nth(names: tuple[str, ...], number: int) -> str:
    # Protobuf enums are open: a newer sender may use a number this table does not know.
    return names[number] if 0 <= number < len(names) else names[0]


def _attributes(pairs: Iterable[KeyValue]) -> dict[str, Any]:
    return {pair.key: _value(pair.value) for pair in pairs}


def _value(value: AnyValue) -> Any:
    kind = value.WhichOneof("value")
    if kind is None:
        return None
    if kind == "array_value":
        # A tuple, as the SDK keeps sequences: both ways to a record give equal ones.
        return tuple(_value(item) for item in value.array_value.values)
    if kind == "kvlist_value":
        return _attributes(value.kvlist_value.values)
    return getattr(value, kind)


__all__ = ["Event", "Link", "SpanRecord", "from_otlp", "from_readable"]
