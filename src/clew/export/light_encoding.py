"""A light span to OTLP bytes, the moment it ends: what `encoding.encode_span` does, read from its slots in one step."""

from __future__ import annotations

import struct
from operator import attrgetter
from typing import Any

from clew import span_names
from clew.export import encoding, wire
from clew.export.encoding import BARE_STATUS, extras, flags_of, state_of, status_of
from clew.export.wire import VARINTS, make_varint
from clew.spans.identity import StaticAttributes
from clew.spans.leaf import Kind, Leaf
from clew.spans.light_record import UNSET
from clew.spans.light_span import LightSpan

# A trace's head, the span's id, its parent's, its flags, its times; the fields' tags and lengths between them.
_pack = struct.Struct("<20s8s2s8s7sQcQ").pack
_pack_first = struct.Struct("<20s8s7sQcQ").pack
_read = attrgetter(
    *("trace", "span_id", "parent_id", "parent_context", "start_time", "end_time", "name", "kind", "status"),
    *("held", "static", "events", "links", "folded"),
)
_FLAGS = {flags: b"\x85\x01" + flags.to_bytes(4, "little") + b"\x39" for flags in (0x100, 0x300)}
_LOCAL_PARENT = _FLAGS[0x100]
# From so many attributes on, all are looked up together.
_MANY = 4
_MAX_HEADS = 4096
# By kind: what follows the times in a span of that name. One that has a status says it afterwards, and that counts.
_heads: dict[Any, dict[str, bytes]] = {}


def encode_light(span: LightSpan) -> encoding.Item | None:
    """Encode an ended light span; None (and a line in the log) where OTLP cannot carry it."""
    try:
        if type(span) is Leaf and not span.trace.state and (span.folded is None or span.folded.count == 1):
            return span.pipeline.provider.resource, span.like.scope, _leaf(span)
        return span.pipeline.provider.resource, span.instrumentation_scope, _encoded(span)
    except Exception:  # noqa: BLE001 - a span's values are anybody's
        return encoding.encode(span.readable())


def _leaf(span: Leaf) -> bytes:
    like = span.like
    head = _pack(
        *(span.trace.head, span.span_id, b"\x22\x08", span.parent_id, _LOCAL_PARENT),
        *(span.start_time, b"\x41", span.end_time),
    )
    head += like.encoded or _encode_kind(like)
    for item in span.held.items():
        if pair := wire.pair(item):
            head += b"\x4a" + pair
    size = len(head)
    return (VARINTS[size] if size < 2048 else make_varint(size)) + head


def _encode_kind(like: Kind) -> bytes:
    like.encoded = made = _new_head(like.kind, like.name) + (like.static.encoded or _encode(like.static))
    return made


def _encoded(span: LightSpan) -> bytes:
    trace, own, parent_id, parent, start, end, name, kind, status, attributes, static, events, links, folded = _read(
        span
    )
    if folded is not None and folded.count > 1:
        name = span_names.of_folded(name)
    if parent_id:
        flags = _LOCAL_PARENT if parent is None else _FLAGS[flags_of(parent)]
        head = _pack(trace.head, own, b"\x22\x08", parent_id, flags, start, b"\x41", end)
    else:
        head = _pack_first(trace.head, own, _LOCAL_PARENT, start, b"\x41", end)
    known = _heads.get(kind._value_)
    named = None if known is None else known.get(name)
    head += _new_head(kind, name) if named is None else named
    if status is not UNSET:
        head += status_of(status)
    if trace.state:
        head += state_of(trace.state)
    is_plain = type(attributes) is dict
    if events or links or not is_plain:
        head += extras(events, links, attributes)
    if static is not None:
        head += static.encoded if static.encoded is not None else _encode(static)
    if attributes:
        if is_plain and len(attributes) < _MANY:
            for item in attributes.items():
                if pair := wire.pair(item):
                    head += b"\x4a" + pair
        else:
            head = b"\x4a".join([head, *wire.attributes(attributes)])
    size = len(head)
    return (VARINTS[size] if size < 2048 else make_varint(size)) + head


def _new_head(kind: Any, name: str) -> bytes:
    known = _heads.setdefault(kind._value_, {})
    made = b"\x30" + bytes((kind._value_ + 1,)) + b"\x2a" + wire.name(name) + BARE_STATUS[0]
    if len(made) <= wire.MAX_KEPT_BYTES:
        if len(known) >= _MAX_HEADS:
            known.clear()
        known[name] = made
    return made


def _encode(static: StaticAttributes) -> bytes:
    static.encoded = made = b"\x4a".join([b"", *wire.attributes(static.mapping)])
    return made
