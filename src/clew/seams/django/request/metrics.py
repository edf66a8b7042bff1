"""contrib's HTTP server metrics, kept: active requests and duration, by its instruments and its attribute filters.

Where no meter provider is set up its instruments are proxies that lead nowhere, and nothing is computed for them.
Without the names of contrib that this takes, nothing is recorded.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from time import perf_counter
from typing import Any

from opentelemetry.metrics import NoOpUpDownCounter

from clew import attributes as names
from clew.engine import needs
from clew.engine.series import Series
from clew.seams.django import contrib
from clew.seams.django.request.outcome import route_of

_SEMCONV = "opentelemetry.instrumentation._semconv"
# By the old conventions a client's Host header is in them.
_HOSTS = ("http.method", "http.host", "http.server_name", "net.host.name", "net.host.port")
_active, _old, _new = Series(*_HOSTS), Series(*_HOSTS), Series()


class State:
    """Whether contrib has all that it takes."""

    is_possible = True


def _switch_off() -> None:
    State.is_possible = False


needs.declare(
    __name__,
    *needs.functions(
        contrib.MIDDLEWARE,
        "_DjangoMiddleware._active_request_counter",
        "_DjangoMiddleware._duration_histogram_old",
        "_DjangoMiddleware._duration_histogram_new",
        "_parse_active_request_count_attrs",
        "_parse_duration_attrs",
    ),
    *needs.functions(_SEMCONV, "_StabilityMode"),
    consequence="http.server.request.duration and http.server.active_requests are not recorded",
    switch_off=_switch_off,
)


# What its span started with; worked out only for who asks.
Attributes = Callable[[], dict[str, Any]]


class RequestMetrics:
    """Metrics of one request, recorded at its end.

    Args:
        attributes: gives what its span started with.
    """

    __slots__ = ("_active", "_attributes", "_began", "_holder", "status_code")

    def __init__(self, attributes: Attributes) -> None:
        self.status_code = 0
        self._holder = holder = _holder()
        if holder is None:
            return
        self._attributes = attributes
        self._began = perf_counter()
        parse = sys.modules[contrib.MIDDLEWARE]._parse_active_request_count_attrs
        self._active = _active.bounded(parse(attributes(), _mode(contrib.State.mode)))
        holder._active_request_counter.add(1, self._active)

    def record(self, request: Any) -> None:
        """Record the duration, and that the request is no longer active."""
        holder = self._holder
        if holder is None:
            return
        seconds = max(perf_counter() - self._began, 0)
        holder._active_request_counter.add(-1, self._active)
        route, started = route_of(request), self._attributes()
        old, recent = holder._duration_histogram_old, holder._duration_histogram_new
        if old is not None:
            attributes = _parsed({**started, "http.status_code": self.status_code}, "default")
            if route:
                attributes["http.target"] = route
            old.record(round(seconds * 1000), _old.bounded(attributes))
        if recent is not None:
            new = {**started, names.HTTP_RESPONSE_STATUS_CODE: self.status_code}
            if route:
                new[names.HTTP_ROUTE] = route
            if self.status_code >= 500:
                new[names.ERROR_TYPE] = str(self.status_code)
            recent.record(seconds, _new.bounded(_parsed(new, "http")))


def started(attributes: Attributes) -> RequestMetrics:
    """Note that a request became active."""
    return RequestMetrics(attributes)


def _holder() -> Any:
    """contrib's middleware, if its instruments lead somewhere."""
    holder = contrib.middleware() if State.is_possible else None
    if holder is None:
        return None
    counter = holder._active_request_counter
    real = getattr(counter, "_real_instrument", counter)  # of a proxy; asked before the dear `isinstance`
    return None if real is None or isinstance(real, NoOpUpDownCounter) else holder


def _mode(value: str) -> Any:
    return sys.modules[_SEMCONV]._StabilityMode(value)


def _parsed(attributes: dict[str, Any], mode: str) -> Any:
    return sys.modules[contrib.MIDDLEWARE]._parse_duration_attrs(attributes, _mode(mode))
