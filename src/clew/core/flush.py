"""Flushing that returns in time; the SDK's own ignores its timeout (opentelemetry-python #4568)."""

from __future__ import annotations

import threading
import time

from opentelemetry.sdk.trace import TracerProvider

from clew.core import isolation


class _Flush:
    """A `force_flush` in a thread of its own, which is left behind when it takes too long."""

    def __init__(self, provider: TracerProvider, timeout_millis: float) -> None:
        self._provider, self._timeout = provider, int(timeout_millis)
        self.is_complete = False
        # Not `Thread.join`: an exception out of a signal's handler makes it take the thread for ended (3.10 to 3.12).
        self.is_over = threading.Event()
        self.start = threading.Thread(target=self._run, name="clew-flush", daemon=True).start

    def _run(self) -> None:
        try:
            self.is_complete = bool(self._provider.force_flush(self._timeout))
        except Exception as error:  # noqa: BLE001 - an exporter's own trouble
            isolation.report(error, "force_flush")
        finally:
            self.is_over.set()


def bounded_flush(provider: TracerProvider, timeout_millis: float) -> bool:
    """`provider.force_flush()` that returns in time, whatever the exporter does."""
    flush = _Flush(provider, timeout_millis)
    flush.start()
    flush.is_over.wait(timeout_millis / 1000)
    return flush.is_complete


def flush_before_exit(provider: TracerProvider, timeout_millis: float) -> bool:
    """`bounded_flush` for the last moments of a process: a signal does not cut it short.

    Args:
        provider: whose spans to send.
        timeout_millis: the longest the exit may be delayed.

    Returns:
        True when everything was handed to the exporter in time.

    Raises:
        BaseException: what a signal's handler raised meanwhile, when the flush is over.
    """
    until = time.monotonic() + timeout_millis / 1000
    flush = _Flush(provider, timeout_millis)
    raised: BaseException | None = None
    try:
        flush.start()
    except BaseException as error:  # noqa: BLE001 - raised again below
        raised = error
    while not flush.is_over.is_set() and (left := until - time.monotonic()) > 0:
        try:
            flush.is_over.wait(left)
        except BaseException as error:  # noqa: BLE001 - raised again below
            raised = raised or error
    if raised is not None:
        raise raised
    return flush.is_complete
