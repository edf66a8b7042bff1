"""Flushing that returns in time; the SDK's own ignores its timeout (opentelemetry-python #4568)."""

from __future__ import annotations

import threading
import time

from opentelemetry.sdk.trace import TracerProvider

from clew.core import isolation


def bounded_flush(provider: TracerProvider, timeout_millis: float) -> bool:
    """`provider.force_flush()` that returns in time, whatever the exporter does."""
    done: list[bool] = []
    _start(provider, timeout_millis, done).join(timeout_millis / 1000)
    return bool(done and done[0])


def flush_before_exit(provider: TracerProvider, timeout_millis: float) -> bool:
    """`bounded_flush` for the last moments of a process: a signal does not cut it short, it is raised when it is over.

    Args:
        provider: whose spans to send.
        timeout_millis: the longest the exit may be delayed.

    Returns:
        True when everything was handed to the exporter in time.

    Raises:
        BaseException: what a signal's handler raised meanwhile.
    """
    done: list[bool] = []
    raised: BaseException | None = None
    until = time.monotonic() + timeout_millis / 1000
    thread = _start(provider, timeout_millis, done)
    while thread.is_alive() and (left := until - time.monotonic()) > 0:
        try:
            thread.join(left)
        except BaseException as error:  # noqa: BLE001 - raised again below
            raised = raised or error
    if raised is not None:
        raise raised
    return bool(done and done[0])


def _start(provider: TracerProvider, timeout_millis: float, done: list[bool]) -> threading.Thread:
    def flush() -> None:
        try:
            done.append(bool(provider.force_flush(int(timeout_millis))))
        except Exception as error:  # noqa: BLE001 - an exporter's own trouble
            isolation.report(error, "force_flush")

    thread = threading.Thread(target=flush, name="clew-flush", daemon=True)
    thread.start()
    return thread
