"""What sends spans: clew's own queues, one for each exporter; and which of a provider's processors send, anybody's."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor

from clew.engine import isolation
from clew.export.exporters import exporters
from clew.export.losses import Losses
from clew.processors.deliver import DeliverProcessor
from clew.processors.span_queue import Limits

_RELOADED_DELAY_MS = 500


def taking(queues: Sequence[DeliverProcessor]) -> Callable[[Sequence[Any]], None]:
    """The function that hands ended spans to each of these queues."""
    return queues[0].take if len(queues) == 1 else functools.partial(_take, queues)


def _take(queues: Sequence[DeliverProcessor], spans: Sequence[Any]) -> None:
    for queue in queues:
        queue.take(spans)


def delivering() -> Iterator[DeliverProcessor]:
    """A processor for each exporter that is configured, within the bounds of `OTEL_BSP_*`."""
    limits = Limits(
        queue_size=_number("OTEL_BSP_MAX_QUEUE_SIZE", Limits.queue_size),
        batch_size=_number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", Limits.batch_size),
        delay_ms=_number("OTEL_BSP_SCHEDULE_DELAY", int(Limits.delay_ms)),
    )
    for outgoing in exporters():
        queue = DeliverProcessor(outgoing, Losses(outgoing.endpoint), limits)
        if os.environ.get("RUN_MAIN") == "true":  # `runserver`: its parent ends it by SIGKILL
            queue.export_every(_RELOADED_DELAY_MS)
        yield queue


def _number(name: str, default: int) -> int:
    given = os.environ.get(name, "").strip()
    if not given:
        return default
    if given.isdecimal() and int(given) > 0:
        return int(given)
    isolation.warn(f"clew: {name}={given!r} is no number above 0; {default} is used")
    return default


def exporting(provider: TracerProvider) -> list[SpanProcessor]:
    """The provider's processors that export spans, clew's and others'."""
    multi: Any = getattr(provider, "_active_span_processor", None)
    kinds = (BatchSpanProcessor, SimpleSpanProcessor, DeliverProcessor)
    return [each for each in getattr(multi, "_span_processors", ()) if isinstance(each, kinds)]
