"""One line that says how many spans were lost, why, and how to mend it: once a minute, and before a process leaves."""

from __future__ import annotations

import logging
import threading
import time

from clew.core import flush

logger = logging.getLogger("clew")

_PERIOD_SECONDS = 60.0
_WHY = {
    "unreachable": (
        "{endpoint} could not be reached or refused them",
        "start the collector or set OTEL_EXPORTER_OTLP_ENDPOINT and _PROTOCOL (`clew doctor` tries them)",
    ),
    "timeout": (
        "{endpoint} did not answer in time, though it may have some of them",
        "see why the collector is slow; CLEW_FLUSH_TIMEOUT_MS lets a process that leaves wait longer for it",
    ),
    "rejected": (
        "{endpoint} did not take them",
        "the exporter's own log line says what it answered",
    ),
    "queue_full": (
        "they came faster than {endpoint} takes them",
        "raise OTEL_BSP_MAX_QUEUE_SIZE, or sample",
    ),
}


class State:
    """What has not been said yet."""

    counts: dict[tuple[str, str], int] = {}
    silent_until = 0.0
    lock = threading.Lock()


def forget() -> None:
    """In a forked child: its parent says what it has lost."""
    State.counts, State.silent_until, State.lock = {}, 0.0, threading.Lock()


def note(count: int, reason: str, endpoint: str) -> None:
    """Take down spans that are lost, and say it if nothing was said in the last minute."""
    with State.lock:
        if len(State.counts) < len(_WHY) * 8:
            State.counts[reason, endpoint] = State.counts.get((reason, endpoint), 0) + count
    if flush.State.until_reached is None and time.monotonic() >= State.silent_until:
        say()


def say() -> None:
    """Say all that has not been said: before the process leaves, or once a minute."""
    with State.lock:
        counts, State.counts = State.counts, {}
        State.silent_until = time.monotonic() + _PERIOD_SECONDS
    for (reason, endpoint), count in counts.items():
        why, mend = _WHY[reason]
        spans = "1 span was" if count == 1 else f"{count} spans were"
        logger.warning("clew: %s lost: %s; %s", spans, why.format(endpoint=endpoint), mend)
