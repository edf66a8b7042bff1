"""The propagators that are there unless somebody sets others: what they read is known, and they need not be asked."""

from __future__ import annotations

import functools
from typing import Any

from opentelemetry.baggage.propagation import W3CBaggagePropagator
from opentelemetry.propagators.composite import CompositePropagator
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator


@functools.lru_cache(maxsize=8)
def are_usual(propagator: Any) -> bool:
    """Whether it is those of W3C, for the trace's context and baggage."""
    kinds = [type(each) for each in getattr(propagator, "_propagators", ())]
    return type(propagator) is CompositePropagator and kinds == [TraceContextTextMapPropagator, W3CBaggagePropagator]
