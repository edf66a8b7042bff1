"""Encoded spans wait here until they are sent or given up. The queue is bounded by number and by bytes."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

MAX_QUEUE_BYTES = 32 * 1024 * 1024
# A gRPC server takes 4 MiB by default; the envelope of a batch needs some of it.
MAX_BATCH_BYTES = 4 * 1024 * 1024 - 64 * 1024

# An encoded span, in the form that its exporter sends, and its size in bytes.
Item = tuple[Any, int]


@dataclass(frozen=True)
class Limits:
    """The bounds of a queue and of its batches, as `OTEL_BSP_*` name them.

    Args:
        queue_size, batch_size: spans.
        delay_ms: how long a span may wait for others.
        queue_bytes, batch_bytes: clew's own.
    """

    queue_size: int = 2048
    batch_size: int = 512
    delay_ms: float = 5000
    queue_bytes: int = MAX_QUEUE_BYTES
    batch_bytes: int = MAX_BATCH_BYTES


class SpanQueue:
    """The spans of one process that are to be sent.

    `accepted` counts the spans that were put in, `settled` those of them that have since been sent or lost.
    """

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        # Re-entrant: a finalizer may end a span while this thread holds it.
        self.lock = threading.RLock()
        self.accepted = self.settled = 0
        self._items: deque[Item] = deque()
        self._bytes = 0
        self._in_flight: list[Any] | None = None

    def __len__(self) -> int:
        return len(self._items)

    def put(self, items: Sequence[Item | None]) -> list[str]:
        """Add encoded spans (None: one that could not be encoded); returns a reason for each that is not taken."""
        if len(items) == 1:
            with self.lock:
                reason = self._put(items[0])
            return [reason] if reason else []
        limits, waiting = self._limits, self._items
        sizes = [item[1] for item in items if item is not None]
        with self.lock:
            is_room = len(waiting) + len(items) <= limits.queue_size and self._bytes + sum(sizes) <= limits.queue_bytes
            if is_room and len(sizes) == len(items) and max(sizes, default=0) <= limits.batch_bytes:
                waiting.extend(items)  # type: ignore[arg-type]
                self._bytes += sum(sizes)
                self.accepted += len(items)
                return []
            return [lost for item in items if (lost := self._put(item))]

    def _put(self, item: Item | None) -> str:
        limits = self._limits
        if item is None:
            return "invalid"
        if item[1] > limits.batch_bytes:
            return "too_large"
        if len(self._items) >= limits.queue_size or self._bytes + item[1] > limits.queue_bytes:
            return "queue_full"
        self._items.append(item)
        self._bytes += item[1]
        self.accepted += 1
        return ""

    def next_batch(self) -> list[Any]:
        """Take out what is sent next; it is in flight until `settle` or `give_up`."""
        batch: list[Any] = []
        with self.lock:
            size = 0
            while self._items and len(batch) < self._limits.batch_size:
                item, item_bytes = self._items[0]
                if batch and size + item_bytes > self._limits.batch_bytes:
                    break
                self._items.popleft()
                size += item_bytes
                batch.append(item)
            self._bytes -= size
            self._in_flight = batch or None
        return batch

    def is_in_flight(self, batch: list[Any]) -> bool:
        """Whether nobody has given this batch up."""
        return self._in_flight is batch

    def settle(self, batch: list[Any]) -> None:
        """The batch was sent, or is counted as lost."""
        with self.lock:
            self._in_flight = None
            self.settled += len(batch)

    def give_up(self) -> int:
        """Drop what waits and what is in flight; returns how many spans these are."""
        with self.lock:
            count = len(self._items) + len(self._in_flight or ())
            self._items.clear()
            self._bytes, self._in_flight = 0, None
            self.settled += count
        return count
