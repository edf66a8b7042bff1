"""What clew's seams tell each other of a task: in its message's headers, and from a worker's main process to its child.

Short text, so that any serializer and transport takes it. Nothing in it but times, ids and counts.
"""

from __future__ import annotations

import re
from hashlib import blake2b
from typing import Any, NamedTuple

from opentelemetry.trace import SpanContext, TraceFlags

from clew.seams.celery.message.values import MAX_COUNT, MAX_TEXT

# When the message was sent, in nanoseconds since the epoch, by the sender's clock.
PUBLISHED_AT = "clew-published-at"
# On a retry: the span the first attempt is below, and the span of the attempt before.
ATTEMPTS = "clew-attempts"
# On a chord's body: the header's group id, how many tasks it has, and their trace.
CHORD = "clew-chord"
# Not in a message: what a worker's main process tells the child of this delivery.
RECEIVED = "clew-received"
# Which of many sends of its task in one request or task a message is, and whether its run begins a trace of its own.
FAN_OUT = "clew-fan-out"
_CONTEXT = re.compile("([0-9a-f]{32})([0-9a-f]{16})([0-9a-f]{2})")
# Anybody may write a message: later times than this are none of ours.
_LAST_NS = 1 << 62


class Received(NamedTuple):
    """A delivery, as the worker's main process saw it.

    Args:
        received_ns: when, in nanoseconds since the epoch.
        eta_ns: its ETA, 0 where it has none.
        trace_id: of the run's span, if it is the first of a trace.
        span_id: of the run's span.
        number: which run of this task's id it is in this worker, from 1.
    """

    received_ns: int
    eta_ns: int
    trace_id: int
    span_id: int
    number: int

    def text(self) -> str:
        """The text that the main process hands to the child."""
        return f"{self.received_ns}:{self.eta_ns}:{self.trace_id:x}:{self.span_id:x}:{self.number}"


class Chord(NamedTuple):
    """The header a chord's body belongs to.

    Args:
        group_id: of the header.
        size: tasks in it.
        trace_id: of their runs; 0: each has a trace of its own.
        nesting: how often what sent them has replaced itself.
    """

    group_id: str
    size: int
    trace_id: int
    nesting: int

    def text(self) -> str:
        """The text of the header in the body's message."""
        return f"{self.trace_id:032x}:{self.size}:{self.nesting}:{self.group_id}"

    def run_ids(self, index: int) -> tuple[int, int]:
        """Trace and span id of the first run of the header's task at this index."""
        derived = chord_run_ids(self.group_id, index, self.nesting)
        return self.trace_id or derived[0], derived[1]


class Place(NamedTuple):
    """Which of many sends a message is.

    Args:
        position: of this task, in the request or task that sends it, from 1.
        is_own_trace: its run begins a trace of its own.
    """

    position: int
    is_own_trace: bool

    def text(self) -> str:
        """The text of the header in the message."""
        return f"{self.position}:{int(self.is_own_trace)}"


def read_received(text: Any) -> Received | None:
    """What `Received.text` made; None for anything else."""
    try:
        received, eta, trace_id, span_id, number = _bounded(text).split(":")
        found = Received(int(received), int(eta), int(trace_id, 16), int(span_id, 16), int(number))
        return found if _is_possible(found) else None
    except (AttributeError, TypeError, ValueError):
        return None


def _is_possible(found: Received) -> bool:
    return (
        0 < found.received_ns < _LAST_NS
        and 0 <= found.eta_ns < _LAST_NS
        and 0 <= found.trace_id < 1 << 128
        and 0 <= found.span_id < 1 << 64
        and 0 < found.number <= MAX_COUNT
    )


def received_of(request: Any) -> Received | None:
    """What the main process said of this delivery in Celery's context of a request; None where it did not."""
    text = vars(request).get(RECEIVED)
    return read_received(text) if text is not None else None


def ids_of(request: Any) -> tuple[int, int]:
    """Trace and span id that the run of this delivery has, (0, 0) where nobody has said."""
    received = received_of(request)
    return (received.trace_id, received.span_id) if received is not None else (0, 0)


def read_chord(text: Any) -> Chord | None:
    """What `Chord.text` made; None for anything else."""
    try:
        trace_id, size, nesting, group_id = _bounded(text).split(":", 3)
        found = Chord(group_id, int(size), int(trace_id, 16), int(nesting))
        is_possible = (
            0 <= found.trace_id < 1 << 128 and 0 <= found.size <= MAX_COUNT and 0 <= found.nesting <= MAX_COUNT
        )
        return found if is_possible else None
    except (AttributeError, TypeError, ValueError):
        return None


def read_place(text: Any) -> Place | None:
    """What `Place.text` made; None for anything else."""
    try:
        position, is_own = _bounded(text).split(":")
        found = Place(int(position), bool(int(is_own)))
        return found if 0 < found.position <= MAX_COUNT else None
    except (AttributeError, TypeError, ValueError):
        return None


def read_time(text: Any) -> int:
    """Nanoseconds of `PUBLISHED_AT`; 0 for anything else."""
    number = _number(text)
    return number if 0 < number < _LAST_NS else 0


def _number(text: Any) -> int:
    try:
        return int(_bounded(text)) if type(text) is not int else text
    except (AttributeError, TypeError, ValueError):
        return 0


def _bounded(text: Any) -> str:
    if type(text) is not str or len(text) > MAX_TEXT:
        raise ValueError
    return text


def write_attempts(first: SpanContext | None, previous: SpanContext) -> str:
    """The value of `ATTEMPTS`."""
    return f"{_written(first) if first is not None else ''},{_written(previous)}"


def read_attempts(text: Any) -> tuple[SpanContext | None, SpanContext | None]:
    """What `write_attempts` made; two times None for anything else."""
    if type(text) is not str:
        return None, None
    first, _, previous = text.partition(",")
    return _read(first), _read(previous)


def chord_run_ids(group_id: str, index: int, nesting: int) -> tuple[int, int]:
    """Trace and span id of a header task's first run: the body's worker can tell them without being told.

    Args:
        group_id: of the header.
        index: of the task in it.
        nesting: `replaced_task_nesting` of its message: one that replaces a header's task has its id and index.
    """
    digest = blake2b(f"{group_id}:{index}:{nesting}".encode(), digest_size=24).digest()
    return int.from_bytes(digest[:16], "big") or 1, int.from_bytes(digest[16:], "big") or 1


def _written(context: SpanContext) -> str:
    return f"{context.trace_id:032x}{context.span_id:016x}{context.trace_flags:02x}"


def _read(text: str) -> SpanContext | None:
    said = _CONTEXT.fullmatch(text)
    if said is None:
        return None
    flags = TraceFlags(int(said[3], 16))
    found = SpanContext(int(said[1], 16), int(said[2], 16), is_remote=True, trace_flags=flags)
    return found if found.is_valid else None
