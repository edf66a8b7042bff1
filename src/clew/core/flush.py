"""Flushing that returns in time; the SDK's own ignores its timeout (opentelemetry-python #4568).

A process that leaves has two bounds. A collector that answers slowly gets the longer one, so that nothing is lost with
it; one that cannot be reached or refuses keeps nobody for longer than the shorter one. `clew.export.losses`, which
watches the exporters, says which it is, and what was lost.
"""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any, Protocol

from opentelemetry import metrics
from opentelemetry._logs import get_logger_provider
from opentelemetry.sdk.trace import TracerProvider

from clew.core import configuration
from clew.engine import isolation

# A collector that works has answered by then; of one that does not it is asked whether it can be reached at all.
_PROBE_AFTER_SECONDS = 0.3
_PAUSE_SECONDS = 0.05
_LAST_METRICS_MILLIS = 300
_ENDING = ("SIGTERM", "SIGQUIT", "SIGHUP")


class Exports(Protocol):
    """What is known of the exporters."""

    def is_down(self, timeout: float) -> bool:
        """Whether no exporter that is sending can reach its collector; may take that many seconds."""

    def lose(self, provider: TracerProvider) -> int:
        """Give up what the provider has not sent: count it, say it; returns how many spans it was."""


class State:
    """The flush of a process that leaves, for the exporters' retries.

    Attributes:
        exports: set by the wiring.
        until_reached: when a collector that cannot be reached is given up (`time.monotonic()`); None: not leaving.
        is_failing: the last export did not arrive; what a child inherits from its parent counts.
        has_given_up: it did not arrive although the process waited for it.
        has_no_connection: while the process waited, the collector accepted none.
    """

    exports: Exports | None = None
    until_reached: float | None = None
    is_failing = False
    has_given_up = False
    has_no_connection = False


class _Flush:
    """A `force_flush` in a thread of its own, which is left behind when it takes too long."""

    def __init__(self, provider: Any, timeout_millis: float) -> None:
        self._provider, self._timeout = provider, int(timeout_millis)
        self.is_complete = False
        # Not `Thread.join`: an exception out of a signal's handler makes it take the thread for ended (3.10 to 3.12).
        self.is_over = threading.Event()
        self.start = threading.Thread(target=self._run, name="clew-flush", daemon=True).start

    def _run(self) -> None:
        try:
            self.is_complete = bool(self._provider.force_flush(self._timeout))
        except Exception as error:  # noqa: BLE001 - an exporter's own trouble
            if isinstance(self._provider, TracerProvider):
                isolation.report(error, "force_flush")
        finally:
            self.is_over.set()


class _Probe:
    """Asks in a thread of its own whether the collector can be reached: a name may take long to resolve."""

    def __init__(self, timeout: float) -> None:
        self.has_failed = False
        self._timeout = timeout
        threading.Thread(target=self._run, name="clew-probe", daemon=True).start()

    def _run(self) -> None:
        try:
            self.has_failed = State.exports is not None and State.exports.is_down(self._timeout)
        except Exception as error:  # noqa: BLE001 - ours must not reach the application
            isolation.report(error, "asking whether the collector can be reached")


def bounded_flush(provider: TracerProvider, timeout_millis: float) -> bool:
    """`provider.force_flush()` that returns in time, whatever the exporter does."""
    flush = _Flush(provider, timeout_millis)
    flush.start()
    flush.is_over.wait(timeout_millis / 1000)
    return flush.is_complete


def batches(provider: Any) -> list[Any]:
    """The SDK's batch processors behind a provider."""
    processors = getattr(getattr(provider, "_active_span_processor", None), "_span_processors", ())
    found = (getattr(each, "_batch_processor", None) for each in processors)
    return [each for each in found if each is not None]


@contextlib.contextmanager
def leaving() -> Iterator[float]:
    """While the process leaves: exporters stop their retries in time. Gives the moment to give up at."""
    settings = configuration.settings
    slow, unreachable = settings.flush_timeout_ms / 1000, settings.flush_unreachable_timeout_ms / 1000
    if State.is_failing:
        slow = min(slow, unreachable)
    if State.has_given_up:
        slow = min(slow, _PROBE_AFTER_SECONDS)
    now = time.monotonic()
    State.until_reached = now + min(slow, unreachable)
    try:
        yield now + slow
    finally:
        State.until_reached = None


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
    with leaving() as until:
        if timeout_millis is not None:
            until = time.monotonic() + timeout_millis / 1000
        spans, *others = flushes = [_Flush(each, (until - time.monotonic()) * 1000) for each in _all(provider)]
        raised = _wait(flushes, until)
        is_complete = spans.is_complete
        State.has_given_up |= not is_complete
        if is_last and State.exports is not None and State.exports.lose(provider):
            _send_the_count(others)
    if raised is not None:
        raise raised
    return is_complete


def _all(provider: TracerProvider) -> list[Any]:
    found: list[Any] = [provider]
    for module, name, get in (
        ("opentelemetry.sdk.metrics", "MeterProvider", metrics.get_meter_provider),
        ("opentelemetry.sdk._logs", "LoggerProvider", get_logger_provider),
    ):
        kind = getattr(sys.modules.get(module), name, None)
        if kind is not None and isinstance(other := get(), kind):
            found.append(other)
    return found


def _wait(flushes: list[_Flush], until: float) -> BaseException | None:
    """Wait until all are over, or given up; returns what a signal's handler raised."""
    probe: _Probe | None = None
    raised: BaseException | None = None
    probe_at, until_reached = time.monotonic() + _PROBE_AFTER_SECONDS, State.until_reached or until
    started = 0
    while time.monotonic() < until:
        try:
            while started < len(flushes):
                started += 1
                flushes[started - 1].start()
            running = next((each for each in flushes if not each.is_over.is_set()), None)
            if running is None:
                break
            now = time.monotonic()
            if probe is None and now >= probe_at and until > until_reached:
                probe = _Probe(until_reached - now)
            if probe is not None and probe.has_failed and now >= until_reached:
                State.has_no_connection = True
                break
            running.is_over.wait(min(_PAUSE_SECONDS, max(until - now, 0)))
        except BaseException as error:  # noqa: BLE001 - raised again when the flush is over
            raised = raised or error
    return raised


def _send_the_count(others: list[_Flush]) -> None:
    """What was lost is counted after the metrics were sent: send them again where that went well."""
    for each in others:
        if each.is_complete:
            bounded_flush(each._provider, _LAST_METRICS_MILLIS)


@contextlib.contextmanager
def undisturbed() -> Iterator[None]:
    """In a child that is leaving anyway: what would end it at once (billiard resets the handler) is not heard."""
    before: dict[int, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for number in (getattr(signal, name) for name in _ENDING if hasattr(signal, name)):
                before[number] = signal.signal(number, signal.SIG_IGN)
        yield
    finally:
        for number, handler in before.items():
            if handler is not None:
                signal.signal(number, handler)
