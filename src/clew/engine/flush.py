"""The last moments of a process: what has ended is sent within two bounds, what is left is counted.

A collector that answers slowly gets the longer bound, so that nothing is lost with it; one that cannot be reached keeps
nobody for longer than the shorter one. With somebody else's provider the same bounds hold for its own `force_flush`,
in a thread that is left behind when it takes too long (the SDK's ignores its timeout, opentelemetry-python #4568).
"""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable
from typing import Any, Protocol

from opentelemetry import metrics
from opentelemetry._logs import get_logger_provider
from opentelemetry.sdk.trace import TracerProvider

from clew.engine import configuration, forks, isolation

# A collector that works has answered by then; of one that does not it is asked whether it can be reached at all.
_PROBE_AFTER_SECONDS = 0.3
_PAUSE_SECONDS = 0.02
_LAST_METRICS_MILLIS = 300


class Queue(Protocol):
    """What delivers spans: `processors.deliver`."""

    is_failing: bool
    has_given_up: bool

    @property
    def outgoing(self) -> Any:
        """The exporter."""

    @property
    def is_settled(self) -> bool:
        """Whether nothing waits and nothing is under way."""

    def start_sending(self) -> None:
        """Send what waits, now."""

    def lose_the_rest(self, reason: str) -> int:
        """Give up what has not been sent; returns how many spans these are."""

    def force_flush(self, timeout_millis: float) -> bool:
        """Send what has ended; whether all of it arrived."""

    def export_every(self, delay_ms: float) -> None:
        """Wait no longer than that for other spans."""


# Those of the provider in use; none where it is somebody else's. Set by the wiring, as what ends clew's providers of
# metrics and logs within so many seconds by the threads these have: the interpreter's exit starts no new ones.
queues: tuple[Queue, ...] = ()
close_signals: Callable[[float], None] | None = None


class _Flush:
    """A `force_flush` in a thread of its own, which is left behind when it takes too long."""

    def __init__(self, provider: Any, timeout_millis: float) -> None:
        self._provider, self._timeout = provider, int(timeout_millis)
        self.is_complete = self.is_refused = False
        # Not `Thread.join`: an exception out of a signal's handler makes it take the thread for ended (3.10 to 3.12).
        self.is_over = threading.Event()

    def start(self) -> None:
        """Start it; at the interpreter's exit there may be no threads any more: then it is over."""
        try:
            forks.start(threading.Thread(target=self._run, name="clew-flush", daemon=True))
        except RuntimeError:
            self.is_refused = True
            self.is_over.set()

    def _run(self) -> None:
        try:
            self.is_complete = bool(self._provider.force_flush(self._timeout))
        except Exception as error:  # noqa: BLE001 - an exporter's own trouble
            if isinstance(self._provider, TracerProvider):
                isolation.report(error, "force_flush")
        finally:
            self.is_over.set()


class _Probe:
    """Asks in a thread of its own whether the collectors can be reached: a name may take long to resolve."""

    def __init__(self, waiting: list[Queue], timeout: float) -> None:
        self.has_failed = False
        self._waiting, self._timeout = waiting, timeout
        try:
            forks.start(threading.Thread(target=self._run, name="clew-probe", daemon=True))
        except RuntimeError:  # the interpreter is ending
            self._run()

    def _run(self) -> None:
        until = time.monotonic() + self._timeout
        try:
            self.has_failed = not any(
                each.outgoing.is_reachable(until - time.monotonic()) for each in self._waiting if not each.is_settled
            )
        except Exception as error:  # noqa: BLE001 - ours must not reach the application
            isolation.report(error, "asking whether the collector can be reached")


def bounded_flush(provider: TracerProvider, timeout_millis: float) -> bool:
    """Send what has ended; returns in time, whatever the exporter does.

    Returns:
        True when all of it arrived, as far as the provider's processors say.
    """
    if queues:
        until = time.monotonic() + timeout_millis / 1000
        flushed = [each.force_flush(max(until - time.monotonic(), 0) * 1000) for each in queues]
        return all(flushed)
    flush = _Flush(provider, timeout_millis)
    flush.start()
    flush.is_over.wait(timeout_millis / 1000)
    return flush.is_complete


def flush_before_exit(provider: TracerProvider, timeout_millis: float | None = None, *, is_last: bool = False) -> bool:
    """Send spans, metrics and logs in the last moments of a process, all at once; a signal does not cut it short.

    Args:
        provider: whose spans to send.
        timeout_millis: instead of the settings' bounds.
        is_last: nothing is sent afterwards; what is left is counted as lost.

    Returns:
        True when everything was handed to the exporter in time.

    Raises:
        BaseException: what a signal's handler raised meanwhile, when the flush is over.
    """
    if timeout_millis is None:
        slow, unreachable = _bounds()
    else:
        slow = unreachable = timeout_millis / 1000
    now = time.monotonic()
    waiting = list(queues)
    others = [_Flush(each, slow * 1000) for each in ([] if waiting else [provider]) + _other_signals()]
    raised, is_reachable = _wait(waiting, others, now + slow, now + min(slow, unreachable))
    is_complete = all(each.is_settled for each in waiting) and (bool(waiting) or others[0].is_complete)
    for each in waiting:
        each.has_given_up |= not each.is_settled
    reason = "timeout" if is_reachable else "unreachable"
    lost = [each.lose_the_rest(reason) for each in waiting] if is_last else []
    if any(lost):
        _send_the_count(others)
    if is_last and close_signals is not None and any(each.is_refused for each in others):
        close_signals(max(now + slow - time.monotonic(), _LAST_METRICS_MILLIS / 1000))
    if raised is not None:
        raise raised
    return is_complete


def _bounds() -> tuple[float, float]:
    """Seconds for a collector that is slow, and for one that cannot be reached."""
    settings = configuration.settings
    slow, unreachable = settings.flush_timeout_ms / 1000, settings.flush_unreachable_timeout_ms / 1000
    if any(each.has_given_up for each in queues):
        return min(slow, _PROBE_AFTER_SECONDS), unreachable
    return min(slow, unreachable) if any(each.is_failing for each in queues) else slow, unreachable


def _other_signals() -> list[Any]:
    found: list[Any] = []
    for module, name, get in (
        ("opentelemetry.sdk.metrics", "MeterProvider", metrics.get_meter_provider),
        ("opentelemetry.sdk._logs", "LoggerProvider", get_logger_provider),
    ):
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(other := get(), kind):
            found.append(other)
    return found


def _wait(
    waiting: list[Queue], others: list[_Flush], until: float, until_reached: float
) -> tuple[BaseException | None, bool]:
    """Wait until all is sent, or given up; returns what a signal's handler raised, and whether anybody listens."""
    probe: _Probe | None = None
    raised: BaseException | None = None
    probe_at = time.monotonic() + _PROBE_AFTER_SECONDS
    to_start = [each.start_sending for each in waiting] + [each.start for each in others]
    while True:
        try:
            while to_start:
                to_start.pop(0)()
            if all(each.is_settled for each in waiting) and all(each.is_over.is_set() for each in others):
                return raised, True
            now = time.monotonic()
            if now >= until:
                break
            if probe is None and waiting and now >= probe_at:
                probe = _Probe(waiting, max(until_reached - now, 0))
            if probe is not None and probe.has_failed and now >= until_reached:
                return raised, False
            time.sleep(min(_PAUSE_SECONDS, until - now))
        except BaseException as error:  # noqa: BLE001 - raised again when the flush is over
            raised = raised or error
    return raised, probe is None or not probe.has_failed


def _send_the_count(others: list[_Flush]) -> None:
    """What was lost is counted after the metrics were sent: send them again where that went well."""
    for each in others:
        if each.is_complete:
            again = _Flush(each._provider, _LAST_METRICS_MILLIS)
            again.start()
            again.is_over.wait(_LAST_METRICS_MILLIS / 1000)
