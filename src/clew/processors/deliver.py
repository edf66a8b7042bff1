"""The last metre: a span is bytes when it has ended, waits in a bounded queue, and is sent or counted as lost.

The SDK's batch processor keeps the objects of five seconds for the garbage collector, drops what its queue cannot take
without counting it, ignores what an export answers, and its `force_flush` ignores its timeout (opentelemetry-python
#4568). This one stands in its place where clew makes the provider; `OTEL_BSP_*` mean what they mean there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from opentelemetry.sdk.trace import ReadableSpan, SpanProcessor

from clew.engine import forks, isolation
from clew.processors.span_queue import Item, Limits, SpanQueue
from clew.spans.light_span import LightSpan

_FORK_WAIT_SECONDS = 1.0
_LONGEST_PAUSE_SECONDS = 0.02


class Outgoing(Protocol):
    """What the batches are sent through."""

    endpoint: str

    def encode(self, span: ReadableSpan) -> Item | None:
        """What waits for the export; None: it cannot be sent."""

    def encode_light(self, span: LightSpan) -> Item | None:
        """As `encode`, of a light span."""

    def send(self, items: Sequence[Any]) -> str:
        """Send a batch; returns why it did not arrive, "" if it did."""

    def is_reachable(self, timeout: float) -> bool:
        """Whether something accepts connections there; may take that many seconds."""

    def shutdown(self) -> None:
        """Close connections; a retry that waits is given up."""


class Lost(Protocol):
    """Counts the spans that are lost."""

    total: int

    def add(self, count: int, reason: str) -> None:
        """Count spans that are lost."""

    def report(self, *, is_last: bool = False) -> None:
        """Update the metric and log a line, if it is time."""


class DeliverProcessor(SpanProcessor):
    """Sends what has ended. Never raises, never blocks the thread in which a span ends.

    Args:
        outgoing: the exporter.
        losses: where what does not arrive is taken down.
        limits: the bounds.
    """

    is_silent_on_light_spans = True

    def __init__(self, outgoing: Outgoing, losses: Lost, limits: Limits) -> None:
        self.outgoing, self.losses, self._limits = outgoing, losses, limits
        self.delay_ms = limits.delay_ms
        self.is_on = True
        # Whether the last batch did not arrive, and whether a process that left has waited for one in vain.
        self.is_failing = self.has_given_up = False
        self._sending = threading.Lock()
        self._renew()
        forks.renew(self._renew)
        forks.hold(self._hold_sending, self._release_sending)

    def _renew(self) -> None:
        """At the start, and in a forked child: what its parent has not sent is the parent's."""
        self._sending = threading.Lock()
        self._queue = SpanQueue(self._limits)
        self._thread: threading.Thread | None = None
        self._wake: threading.Event | None = None
        self._lost_before = 0
        self._is_held = False

    def on_end(self, span: ReadableSpan) -> None:
        """Encode a span and let it wait for the export."""
        context = span.get_span_context()
        if context is None or not context.trace_flags.sampled:
            return
        self._accept([self._encoded(self.outgoing.encode, span)])

    def take(self, spans: Sequence[LightSpan]) -> None:
        """As `on_end`, of light spans that end together: they are read as they are, no ReadableSpan is made."""
        encode = self.outgoing.encode_light
        items = [self._encoded(encode, span) for span in spans if span.trace.flags & 1]
        if items:
            self._accept(items)

    def _encoded(self, encode: Callable[[Any], Item | None], span: Any) -> Item | None:
        try:
            return encode(span)
        except Exception as error:  # noqa: BLE001 - ours must not reach the application
            isolation.report(error, __name__)
            return None

    def _accept(self, items: Sequence[Item | None]) -> None:
        queue = self._queue
        for reason in queue.put(items) if self.is_on else ["shutdown"] * len(items):
            self.losses.add(1, reason)
        if self._thread is None:
            self._start()  # it reports, too
        elif len(queue) >= self._limits.batch_size and self._wake is not None and not self._wake.is_set():
            self._wake.set()

    def _start(self) -> None:
        # Both are made here, at the first span, when a server has patched what it patches (gunicorn -k gevent).
        with self._queue.lock:
            if self._thread is not None:
                return
            self._wake = wake = threading.Event()
            self._thread = threading.Thread(target=self._work, args=(wake,), name="clew-deliver", daemon=True)
        try:
            forks.start(self._thread)
        except RuntimeError:  # the interpreter is ending (Python 3.12): `leave` sends in its own thread
            self._thread = None

    def _work(self, wake: threading.Event) -> None:
        while wake is self._wake:
            wake.wait(self.delay_ms / 1000)
            wake.clear()
            try:
                self._send_waiting()
                self.losses.report()
            except Exception as error:  # noqa: BLE001 - the thread goes on
                isolation.report(error, __name__)

    def _send_waiting(self) -> None:
        queue = self._queue
        until = queue.accepted
        while queue.settled < until and (batch := queue.next_batch()):
            self._send(batch, queue)

    def _send(self, batch: list[Any], queue: SpanQueue) -> None:
        with self._sending:
            lost = self._sent(batch)
        with queue.lock:
            if not queue.is_in_flight(batch):
                return  # given up and counted by a process that leaves
            self.is_failing = bool(lost)
            if not lost:
                self.has_given_up = False
            for reason, count in lost.items():
                self.losses.add(count, reason)
            queue.settle(batch)

    def _sent(self, batch: list[Any]) -> dict[str, int]:
        """Send a batch, in halves where it is too large; returns what did not arrive, by reason."""
        try:
            reason = self.outgoing.send(batch)
        except Exception as error:  # noqa: BLE001 - an exporter's own trouble
            isolation.report(error, f"export to {self.outgoing.endpoint}")
            reason = "rejected"
        if reason != "too_large" or len(batch) == 1:
            return {reason: len(batch)} if reason else {}
        middle = len(batch) // 2
        first, second = self._sent(batch[:middle]), self._sent(batch[middle:])
        return {key: first.get(key, 0) + second.get(key, 0) for key in {**first, **second}}

    def force_flush(self, timeout_millis: float = 30_000) -> bool:
        """Send what has ended by now.

        Args:
            timeout_millis: the longest this may take, in milliseconds.

        Returns:
            True when all of it has arrived, and nothing was lost since the last flush.
        """
        is_settled = self._settle(self._queue.accepted, time.monotonic() + timeout_millis / 1000)
        lost, self._lost_before = self.losses.total - self._lost_before, self.losses.total
        return is_settled and not lost

    def _settle(self, target: int, until: float) -> bool:
        """Wait until so many spans were sent or lost; False when the time (`time.monotonic()`) was over before."""
        pause = 0.001
        self.start_sending()
        while self._queue.settled < target:
            left = until - time.monotonic()
            if left <= 0:
                return False
            time.sleep(min(pause, left))
            pause = min(pause * 2, _LONGEST_PAUSE_SECONDS)
        return True

    def start_sending(self) -> None:
        """Have the thread send what waits; where there can be none any more, send it here."""
        if not self.is_settled and (self._thread is None or not self._thread.is_alive()):
            self._thread = None
            self._start()
        if self._thread is None:
            self._send_waiting()
        elif self._wake is not None:
            self._wake.set()

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits and nothing is under way."""
        return self._queue.settled >= self._queue.accepted

    def lose_the_rest(self, reason: str) -> int:
        """Give up what is under way and what waits: the process leaves. Returns how many spans these are."""
        count = self._queue.give_up()
        if count:
            self.losses.add(count, reason)
        self.losses.report(is_last=True)
        return count

    def export_every(self, delay_ms: float) -> None:
        """Wait no longer than that for other spans."""
        self.delay_ms = min(self.delay_ms, delay_ms)
        if self._wake is not None:
            self._wake.set()

    def shutdown(self) -> None:
        """Stop: what was not flushed is lost, and counted."""
        if self.is_on:
            self.is_on = False
            self.lose_the_rest("shutdown")
            self._wake, wake = None, self._wake
            if wake is not None:
                wake.set()
            self.outgoing.shutdown()

    def _hold_sending(self) -> None:
        """Before a fork: gRPC's own fork handlers are skipped in the middle of a call, and the child's exports hang."""
        self._is_held = self._sending.acquire(timeout=_FORK_WAIT_SECONDS)

    def _release_sending(self) -> None:
        if self._is_held:
            self._is_held = False
            self._sending.release()
