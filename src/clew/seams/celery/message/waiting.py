"""How long a task has waited when its run starts: for its ETA, in the broker, in the worker.

Together they are the time from the publish to the start; where the worker has the message before its ETA, the wait in
the broker is part of the wait for the ETA. Publish and ETA are by the sender's clock, the rest by the worker's; where
the sender's is ahead nothing becomes negative, and the span says so.
"""

from __future__ import annotations

from datetime import datetime
from time import time_ns
from typing import Any, NamedTuple

from clew import attributes as names
from clew.engine import configuration
from clew.seams.celery.message.attempts import header
from clew.seams.celery.message.headers import PUBLISHED_AT, Received, read_time

_SKEW_NS = 1_000_000


class Waited(NamedTuple):
    """Times of a run, in nanoseconds since the epoch, 0 where unknown; its waits, in milliseconds by attribute."""

    published_ns: int
    eta_ns: int
    received_ns: int
    started_ns: int
    ms: dict[str, float]


def waits(request: Any, received: Received | None, attributes: dict[str, Any]) -> Waited:
    """How long the run that starts now has waited; noted among the attributes, too.

    Args:
        request: Celery's context of it.
        received: what the main process said of its delivery.
        attributes: those its span will have.
    """
    now = time_ns()
    ms: dict[str, float] = {}
    if request.is_eager:
        return Waited(0, 0, 0, now, ms)
    published = read_time(header(request, PUBLISHED_AT))
    if received is None:
        return Waited(published, 0, 0, now, ms)
    eta, got = received.eta_ns, received.received_ns
    if eta and published:
        ms[names.CELERY_ETA_MS] = _ms(eta - published)
    if published:
        ms[names.CELERY_QUEUE_MS] = _ms(got - (eta if published < eta <= got else published))
        if published - got > _SKEW_NS:
            attributes[names.CELERY_CLOCK_SKEW_MS] = _ms(published - got)
        if 0 < configuration.settings.slow_queue_threshold_ms <= ms[names.CELERY_QUEUE_MS]:
            attributes[names.CELERY_QUEUE_SLOW] = True
    ms[names.CELERY_PREFETCH_MS] = _ms(now - max(got, eta))
    attributes.update(ms)
    if received.number > 1:
        attributes[names.CELERY_RUN_NUMBER] = received.number
    return Waited(published, eta, got, now, ms)


def eta_attributes(eta: str) -> dict[str, float]:
    """How long a message that is sent now is asked to wait; nothing where its ETA has no time zone."""
    try:
        when = datetime.fromisoformat(eta)
    except (TypeError, ValueError):
        return {}
    if when.tzinfo is None:
        return {}
    return {names.CELERY_ETA_MS: _ms(int(when.timestamp() * 1e9) - time_ns())}


def _ms(nanoseconds: int) -> float:
    return round(max(nanoseconds, 0) / 1e6, 3)
