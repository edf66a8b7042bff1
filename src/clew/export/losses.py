"""Spans that do not arrive: counted by the true reason, and said in one line a minute, the last one too.

The metric is `clew.spans.lost{reason}`; the line names the endpoint, why, and how to mend it.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from opentelemetry import metrics

from clew import attributes as names
from clew.engine import forks
from clew.engine.log import log
from clew.version import VERSION

_REPORT_SECONDS = 0.5
_PERIOD_SECONDS = 60.0
# By reason: why, and how to mend it.
REASONS = {
    "unreachable": (
        "{endpoint} could not be reached",
        "start the collector or set OTEL_EXPORTER_OTLP_ENDPOINT and _PROTOCOL (`clew doctor` tries them)",
    ),
    "timeout": (
        "{endpoint} did not answer in time, though it may have some of them",
        "see why the collector is slow; CLEW_FLUSH_TIMEOUT_MS lets a process that leaves wait longer for it",
    ),
    "rejected": (
        "{endpoint} refused them",
        "the exporter's own log line says what it answered",
    ),
    "redirected": (
        "{endpoint} answered with a redirection, which is not followed",
        "set OTEL_EXPORTER_OTLP_ENDPOINT to where it leads",
    ),
    "too_large": (
        "{endpoint} takes no message of that size",
        "record less on one span, or raise the collector's max_recv_msg_size_mib",
    ),
    "queue_full": (
        "they came faster than {endpoint} takes them",
        "raise OTEL_BSP_MAX_QUEUE_SIZE, or sample",
    ),
    "invalid": (
        "OTLP cannot carry them",
        "a span processor or instrumentation has put something else than text and numbers on them",
    ),
    "shutdown": (
        "they ended after the export to {endpoint} was shut down",
        "call shutdown() last",
    ),
}


class Losses:
    """What one processor could not deliver.

    Args:
        endpoint: for the line.
        now: seconds that only grow.
    """

    def __init__(self, endpoint: str, now: Callable[[], float] = time.monotonic) -> None:
        self._endpoint, self._now = endpoint, now
        self._counter: metrics.Counter | None = None
        self.renew()
        forks.renew(self.renew)

    def renew(self) -> None:
        """In a forked child, start at zero: the parent reports its own losses."""
        # Re-entrant: a finalizer may end a span in the middle of this.
        self._lock, self._reporting = threading.RLock(), threading.RLock()
        self.total = 0
        self._uncounted: dict[str, int] = {}
        self._unsaid: dict[str, int] = {}
        self._silent_until = 0.0

    def add(self, count: int, reason: str) -> None:
        """Count spans that are lost."""
        with self._lock:
            self.total += count
            self._uncounted[reason] = self._uncounted.get(reason, 0) + count
            self._unsaid[reason] = self._unsaid.get(reason, 0) + count

    def report(self, *, is_last: bool = False) -> None:
        """Count them in the metric, and say them if nothing was said in the last minute, or for the last time."""
        # Who leaves the process waits for what another thread is just saying, though not for long.
        is_held = self._reporting.acquire(timeout=_REPORT_SECONDS)
        try:
            self._report(is_last=is_last)
        finally:
            if is_held:
                self._reporting.release()

    def _report(self, *, is_last: bool) -> None:
        if not (self._uncounted or self._unsaid):
            return
        with self._lock:
            uncounted, self._uncounted = self._uncounted, {}
            unsaid: dict[str, int] = {}
            if is_last or self._now() >= self._silent_until:
                unsaid, self._unsaid = self._unsaid, {}
                self._silent_until = self._now() + _PERIOD_SECONDS
        if uncounted and self._counter is None:
            meter = metrics.get_meter("clew.export", VERSION)
            self._counter = meter.create_counter(names.CLEW_SPANS_LOST, "{span}", "spans that were not delivered")
        for reason, count in uncounted.items():
            assert self._counter is not None
            self._counter.add(count, {names.CLEW_LOSS_REASON: reason})
        for reason, count in unsaid.items():
            self._log(count, reason)

    def _log(self, count: int, reason: str) -> None:
        why, mend = REASONS[reason]
        spans = "1 span was" if count == 1 else f"{count} spans were"
        log(logging.WARNING, "clew: %s lost: %s; %s", spans, why.format(endpoint=self._endpoint), mend)
