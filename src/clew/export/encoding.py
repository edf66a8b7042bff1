"""Spans to OTLP bytes, in place of upstream's `encode_spans`; the transport stays upstream's.

Upstream builds a protobuf object for every key and value: 35 microseconds a span, in a thread that takes the
GIL from the requests. The wire format is a few prefixed strings, and most of what spans say they have said
before, so the bytes are put together here from remembered pieces. What this file cannot encode goes to
upstream, span by span: one odd span costs neither the batch nor its neighbours.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Callable, Sequence
from functools import lru_cache
from operator import attrgetter
from typing import Any

from opentelemetry.exporter.otlp.proto.common import trace_encoder as upstream
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import ReadableSpan

from clew import attributes as names
from clew import span_names
from clew.engine import isolation
from clew.export import wire
from clew.export.wire import count, field, joined, sized, text

# SpanFlags of trace.proto; upstream does not send the trace flags along, so neither do we.
_HAS_IS_REMOTE, _IS_REMOTE = 0x100, 0x200
# Field 15 of Span for UNSET, OK and ERROR without a description: nearly every span.
BARE_STATUS = (b"\x7a\x00", b"\x7a\x02\x18\x01", b"\x7a\x02\x18\x02")

_pack_ids = struct.Struct("<2s16s2s8s2sI").pack
_pack_rest = struct.Struct("<cQcQcBc").pack
_pack_link = struct.Struct("<2s16s2s8scI").pack
_pack_event = struct.Struct("<cQc").pack
_NONE_DROPPED = (0, 0, 0)
_FIELDS = ("name", "kind", "parent", "start_time", "end_time", "status", "attributes", "events", "links")
_DROPPED = ("dropped_attributes", "dropped_events", "dropped_links")
_read_public = attrgetter(*_FIELDS, *_DROPPED)
_read_private = attrgetter(*(f"_{name}" for name in _FIELDS))


class EncodedRequest:
    """What upstream's HTTP exporter uses of an ExportTraceServiceRequest: its bytes.

    Args:
        data: the encoded request.
    """

    __slots__ = ("_data",)

    def __init__(self, data: bytes) -> None:
        self._data = data

    def SerializeToString(self) -> bytes:  # noqa: N802 - protobuf's name
        """Encoded request."""
        return self._data

    SerializePartialToString = SerializeToString


# A span that has ended: its resource, its scope, and itself as bytes with their length before them.
Item = tuple[Any, Any, bytes]


class Batch:
    """Spans that are bytes already, in the place of the sequence of spans that upstream's exporters take.

    Args:
        items: what `encode` gave.
    """

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items

    def __len__(self) -> int:
        return len(self.items)


def encode(span: ReadableSpan) -> Item | None:
    """Encode one span; None: neither we nor upstream can (said once)."""
    resource, scope = span.resource, span.instrumentation_scope
    try:
        return resource, scope, sized(_span(span))
    except Exception as error:  # noqa: BLE001 - a span's values are anybody's
        found = _span_by_upstream(span, error)
        return (resource, scope, found[0]) if found else None


def encode_spans(sdk_spans: Any) -> Any:
    """Encode spans as upstream's function of this name does; gRPC needs the real message.

    Args:
        sdk_spans: a Batch, or ended spans: the SDK's, clew's, or anything with the interface of ReadableSpan.

    Returns:
        An ExportTraceServiceRequest.

    Raises:
        Exception: what upstream's function raises, where neither can encode the batch.

    Source: opentelemetry/proto/trace/v1/trace.proto and common/v1/common.proto.
    """
    return _or_upstream(ExportTraceServiceRequest.FromString, sdk_spans)


def encode_spans_for_http(sdk_spans: Any) -> Any:
    """Encode spans for the HTTP exporter, which wants bytes only: no message is parsed and serialized again.

    Args:
        sdk_spans: as for `encode_spans`.

    Returns:
        An EncodedRequest, or upstream's message.

    Raises:
        Exception: what upstream's function raises, where neither can encode the batch.
    """
    return _or_upstream(EncodedRequest, sdk_spans)


# Where it is installed: each module imported `encode_spans` into its own namespace and calls it by that name.
ENCODERS: dict[str, Callable[[Any], Any]] = {
    "opentelemetry.exporter.otlp.proto.http.trace_exporter": encode_spans_for_http,
    "opentelemetry.exporter.otlp.proto.grpc.trace_exporter": encode_spans,
}


def takes_bytes(exporter: Any) -> bool:
    """Whether an exporter calls one of our encoders, so that it may be given a Batch."""
    for kind in type(exporter).__mro__:
        encoder = ENCODERS.get(kind.__module__)
        if encoder is not None:
            return getattr(sys.modules[kind.__module__], "encode_spans", None) is encoder
    return False


def _or_upstream(wrap: Callable[[bytes], Any], sdk_spans: Any) -> Any:
    if type(sdk_spans) is Batch:
        return wrap(_request(sdk_spans.items))
    try:
        return wrap(_request([item for item in map(encode, sdk_spans) if item is not None]))
    except Exception as error:  # noqa: BLE001 - a batch is never lost to a bug of ours
        isolation.report(error, "export.encoding")
        return upstream.encode_spans(sdk_spans)


def _request(items: Sequence[Item]) -> bytes:
    groups: dict[tuple[int, int], tuple[Any, Any, list[bytes]]] = {}
    for resource, scope, span in items:
        # By identity, as a Resource's hash is JSON; the group keeps both alive, so no id is used twice.
        group = groups.get((id(resource), id(scope)))
        if group is None:
            group = groups[id(resource), id(scope)] = (resource, scope, [])
        group[2].append(span)
    # Equal resources and scopes, being equal bytes, become one group here.
    resources: dict[bytes, dict[bytes, list[bytes]]] = {}
    for resource, scope, spans in groups.values():
        scopes = resources.setdefault(_resource(resource), {})
        scopes.setdefault(_scope(scope), []).extend(spans)
    return joined(b"\x0a", b"", [_resource_spans(head, scopes) for head, scopes in resources.items()])


def _resource_spans(head: bytes, scopes: dict[bytes, list[bytes]]) -> bytes:
    return joined(b"\x12", head, [b"\x12".join([scope, *spans]) for scope, spans in scopes.items()])


def _resource(resource: Any) -> bytes:
    body = b"\x0a".join([b"", *wire.attributes(resource.attributes)])
    return field(b"\x0a", body) + text(b"\x1a", resource.schema_url)


def _scope(scope: Any) -> bytes:
    if not scope:
        return b"\x0a\x00"
    named = text(b"\x0a", scope.name) + text(b"\x12", scope.version)
    body = b"\x1a".join([named, *wire.attributes(scope.attributes)])
    return field(b"\x0a", body) + text(b"\x1a", scope.schema_url)


def _span_by_upstream(span: ReadableSpan, error: Exception) -> list[bytes]:
    try:
        body = upstream.encode_spans([span]).resource_spans[0].scope_spans[0].spans[0].SerializeToString()
    except Exception as refusal:  # noqa: BLE001 - what it raises is protobuf's matter
        isolation.warn(f"clew: a span that OTLP cannot carry is not exported: {type(refusal).__name__}")
        return []
    # Upstream could, so the fault is ours.
    isolation.report(error, "export.encoding")
    return [sized(body)]


@lru_cache(maxsize=64)
def _is_plain(kind: type) -> bool:
    # A subclass may show something else than it holds (redacted attributes): then only its properties count.
    return issubclass(kind, ReadableSpan) and all(
        getattr(kind, name) is getattr(ReadableSpan, name) for name in (*_FIELDS, *_DROPPED)
    )


def _span(span: Any) -> bytes:
    if _is_plain(type(span)):  # type: ignore[arg-type]  # mypy takes the hash of a class for its instances'
        # The properties copy and lock: 4 microseconds more.
        name, kind, parent, start, end, status, attributes, events, links = _read_private(span)
        dropped = (
            getattr(attributes, "dropped", 0),
            getattr(events, "dropped", 0),
            getattr(links, "dropped", 0),
        )
    else:
        name, kind, parent, start, end, status, attributes, events, links, *counts = _read_public(span)
        dropped = tuple(counts)
    if names.CLEW_FOLDED_COUNT in (getattr(attributes, "_dict", attributes) or ()):
        name = span_names.of_folded(name)
    context = span.get_span_context()
    trace_id, span_id = context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")
    body = _pack_ids(b"\x0a\x10", trace_id, b"\x12\x08", span_id, b"\x85\x01", flags_of(parent))
    body += _pack_rest(b"\x39", start or 0, b"\x41", end or 0, b"\x30", kind._value_ + 1, b"\x2a")
    body += wire.name(name) + status_of(status)
    if parent:
        body += b"\x22\x08" + parent.span_id.to_bytes(8, "big")
    if context.trace_state:
        body += state_of(context.trace_state)
    if events or links or dropped != _NONE_DROPPED:
        body += _extras(events, links, *dropped)
    return b"\x4a".join([body, *wire.attributes(attributes)])


def state_of(state: Any) -> bytes:
    """Encode a trace state."""
    return text(b"\x1a", ",".join([f"{key}={value}" for key, value in state.items()]))


def extras(events: Any, links: Any, attributes: Any) -> bytes:
    """Encode events, links, and how many of each, and of the attributes, were dropped."""
    return _extras(
        events, links, getattr(attributes, "dropped", 0), getattr(events, "dropped", 0), getattr(links, "dropped", 0)
    )


def _extras(events: Any, links: Any, attributes_lost: int, events_lost: int, links_lost: int) -> bytes:
    parts = [count(b"\x50", attributes_lost), count(b"\x60", events_lost), count(b"\x70", links_lost)]
    parts += [field(b"\x5a", _event(event)) for event in events]
    parts += [field(b"\x6a", _link(link)) for link in links]
    return b"".join(parts)


def _event(event: Any) -> bytes:
    body = _pack_event(b"\x09", event.timestamp or 0, b"\x12") + wire.name(event.name)
    body += count(b"\x20", event.dropped_attributes)
    return b"\x1a".join([body, *wire.attributes(event.attributes)])


def _link(link: Any) -> bytes:
    # Without the trace state, as upstream.
    context = link.context
    trace_id, span_id = context.trace_id.to_bytes(16, "big"), context.span_id.to_bytes(8, "big")
    body = _pack_link(b"\x0a\x10", trace_id, b"\x12\x08", span_id, b"\x35", flags_of(context))
    return b"\x22".join([body + count(b"\x28", link.dropped_attributes), *wire.attributes(link.attributes)])


def flags_of(parent: Any) -> int:
    """The flags of a span with that parent."""
    return _HAS_IS_REMOTE | _IS_REMOTE if parent and parent.is_remote else _HAS_IS_REMOTE


def status_of(status: Any) -> bytes:
    """Encode a status."""
    if status is None:
        return b""
    code, description = status.status_code._value_, status.description
    if not description:
        return BARE_STATUS[code]
    return field(b"\x7a", text(b"\x12", description) + bytes((0x18, code)))
