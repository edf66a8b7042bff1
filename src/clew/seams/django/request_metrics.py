"""contrib's HTTP server metrics, kept: active requests and duration, by its instruments and its attribute filters.

Where no meter provider is set up its instruments are proxies that lead nowhere, and nothing is computed for them.
"""

from __future__ import annotations

from time import perf_counter
from typing import Any

from opentelemetry.instrumentation._semconv import _report_new, _report_old, _StabilityMode
from opentelemetry.instrumentation.django.middleware import otel_middleware
from opentelemetry.metrics import NoOpHistogram, NoOpUpDownCounter

from clew import attributes as names
from clew.seams.django import contrib

_LEADS_NOWHERE = (NoOpHistogram, NoOpUpDownCounter)


class RequestMetrics:
    """Metrics of one request, recorded at its end.

    Args:
        attributes: what its span started with.
    """

    __slots__ = ("_active", "_attributes", "_began", "status_code")

    def __init__(self, attributes: dict[str, Any]) -> None:
        holder: Any = contrib.middleware()
        self.status_code = 0
        self._attributes = attributes
        self._began = perf_counter()
        self._active: Any = None
        if _leads_somewhere(holder._active_request_counter):
            self._active = otel_middleware._parse_active_request_count_attrs(attributes, holder._sem_conv_opt_in_mode)
            holder._active_request_counter.add(1, self._active)

    def record(self, request: Any) -> None:
        """Record the duration, and that the request is no longer active."""
        holder: Any = contrib.middleware()
        seconds = max(perf_counter() - self._began, 0)
        if self._active is not None:
            holder._active_request_counter.add(-1, self._active)
        match = request.resolver_match
        route = (match.route or "/") if match is not None else None
        if _report_old(holder._sem_conv_opt_in_mode) and _leads_somewhere(holder._duration_histogram_old):
            old = {**self._attributes, "http.status_code": self.status_code}
            attributes = otel_middleware._parse_duration_attrs(old, _StabilityMode.DEFAULT)
            if route:
                attributes["http.target"] = route
            holder._duration_histogram_old.record(round(seconds * 1000), attributes)
        if _report_new(holder._sem_conv_opt_in_mode) and _leads_somewhere(holder._duration_histogram_new):
            new = {**self._attributes, names.HTTP_RESPONSE_STATUS_CODE: self.status_code}
            if route:
                new[names.HTTP_ROUTE] = route
            if self.status_code >= 500:
                new[names.ERROR_TYPE] = str(self.status_code)
            attributes = otel_middleware._parse_duration_attrs(new, _StabilityMode.HTTP)
            holder._duration_histogram_new.record(seconds, attributes)


def started(attributes: dict[str, Any]) -> RequestMetrics:
    """Note that a request became active."""
    return RequestMetrics(attributes)


def _leads_somewhere(instrument: Any) -> bool:
    if instrument is None or isinstance(instrument, _LEADS_NOWHERE):
        return False
    return getattr(instrument, "_real_instrument", instrument) is not None
