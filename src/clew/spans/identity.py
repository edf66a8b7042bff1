"""What a light span shares with others: its trace's ids, and attributes that are always the same, both as bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import SpanContext, TraceFlags, TraceState


class TraceIdentity:
    """Ids, flags and state of a trace in this process.

    Args:
        trace_id: as a number.
        flags: those of its spans.
        state: the trace state.
    """

    __slots__ = ("flags", "head", "state", "trace_id")

    def __init__(self, trace_id: int, flags: TraceFlags, state: TraceState | None) -> None:
        self.trace_id, self.flags = trace_id, flags
        self.state = state or None  # an empty one says nothing, and its length is a Python call
        # What an encoded span of it begins with: its id's field, and the tag and length of the span's.
        self.head = b"\x0a\x10" + trace_id.to_bytes(16, "big") + b"\x12\x08"

    @classmethod
    def of(cls, context: SpanContext) -> TraceIdentity:
        """That of a span's context."""
        return cls(context.trace_id, context.trace_flags, context.trace_state)

    def context_of(self, span_id: bytes) -> SpanContext:
        """The context of one of its spans."""
        return SpanContext(self.trace_id, int.from_bytes(span_id, "big"), False, self.flags, self.state)


class StaticAttributes:
    """Attributes that many spans have: a template's, a statement's.

    Args:
        mapping: never changed.
        encoded: the KeyValue messages, each with its field's tag and length before it; None: encoded at first use.
    """

    __slots__ = ("encoded", "leaves", "mapping")

    def __init__(self, mapping: Mapping[str, Any], encoded: bytes | None = None) -> None:
        self.mapping, self.encoded = mapping, encoded
        # The kind of the leaves that have them (`leaf.Kind`), kept by the seam that makes these.
        self.leaves: Any = None
