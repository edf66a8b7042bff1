"""contrib's DjangoInstrumentor, without its hold on Django's settings.

Its environment variables, hooks, excluded URLs, captured headers and metrics keep working, because its own
`instrument()` still reads them; it only sees a stand-in for `django.conf.settings`. The original configures empty
settings when it finds none, and the site's own are ignored from then on (contrib #677, #1707, #2023). Its middleware
steps aside (MiddlewareNotUsed) for the request seam.
"""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

from opentelemetry.instrumentation import django as contrib_django
from opentelemetry.instrumentation.django.middleware.otel_middleware import _DjangoMiddleware

from clew.engine.seam import Patch, like

SQL_COMMENTER = contrib_django.DjangoInstrumentor._sql_commenter_middleware
MODULE = contrib_django.__name__


class State:
    """What contrib was told, as the request seam needs it."""

    middleware_position = 0
    is_sql_commenter_on = False
    is_switched_off = False
    was_instrumented = False


def middleware() -> type[_DjangoMiddleware]:
    """contrib's middleware class, which holds the tracer, the hooks and the metrics."""
    return _DjangoMiddleware


def take_over() -> None:
    """Initialise contrib as `instrument()` does, without touching the settings; called when the seam is installed."""
    instrumentor = contrib_django.DjangoInstrumentor()
    State.was_instrumented = instrumentor.is_instrumented_by_opentelemetry
    if State.was_instrumented:
        instrumentor._instrument(
            request_hook=_DjangoMiddleware._otel_request_hook, response_hook=_DjangoMiddleware._otel_response_hook
        )
    else:
        instrumentor.instrument(skip_dep_check=True)


def give_back() -> None:
    """Leave contrib as it was found."""
    instrumentor = contrib_django.DjangoInstrumentor()
    if not State.was_instrumented:
        instrumentor._is_instrumented_by_opentelemetry = False


def _instrument_aside(original: Any) -> Any:
    def _instrument(self: Any, **kwargs: Any) -> None:
        stand_in = SimpleNamespace(MIDDLEWARE=[])
        module: Any = contrib_django
        real, module.settings = module.settings, stand_in
        try:
            original(self, **kwargs)
        finally:
            module.settings = real
        State.is_switched_off = not stand_in.MIDDLEWARE
        State.is_sql_commenter_on = SQL_COMMENTER in stand_in.MIDDLEWARE
        State.middleware_position = _position(kwargs.get("middleware_position"))

    return like(original, _instrument)


def _position(argument: Any) -> int:
    try:
        return max(0, int(os.environ.get("OTEL_PYTHON_DJANGO_MIDDLEWARE_POSITION", argument or 0)))
    except ValueError:
        return 0


def _instrument_again(original: Any) -> Any:
    def instrument(self: Any, **kwargs: Any) -> Any:
        if not self.is_instrumented_by_opentelemetry or not isinstance(self, contrib_django.DjangoInstrumentor):
            return original(self, **kwargs)
        kwargs.pop("skip_dep_check", None)
        kwargs.pop("raise_exception_on_conflict", None)
        if kwargs:  # hooks given after `opentelemetry-instrument` has instrumented: contrib ignores them
            self._instrument(**kwargs)
        return None

    return like(original, instrument)


def _step_aside(original: Any) -> Any:
    def __init__(self: Any, get_response: Any) -> None:  # noqa: N807 - stands in for it
        from django.core.exceptions import MiddlewareNotUsed

        raise MiddlewareNotUsed("clew's request seam stands in its place")

    return like(original, __init__)


def _pass_through(original: Any) -> Any:
    def __call__(self: Any, request: Any) -> Any:  # noqa: N807 - stands in for it
        return self.get_response(request)

    return like(original, __call__)


def _nothing(original: Any) -> Any:
    def hook(self: Any, request: Any, *args: Any, **kwargs: Any) -> None:
        return None

    return like(original, hook)


_MIDDLEWARE = "opentelemetry.instrumentation.django.middleware.otel_middleware"
PATCHES = (
    Patch(MODULE, "DjangoInstrumentor._instrument", _instrument_aside),
    Patch(MODULE, "DjangoInstrumentor.instrument", _instrument_again),
    Patch(_MIDDLEWARE, "_DjangoMiddleware.__init__", _step_aside),
    # For a chain that was built before clew was set up.
    Patch(_MIDDLEWARE, "_DjangoMiddleware.__call__", _pass_through),
    Patch(_MIDDLEWARE, "_DjangoMiddleware.process_view", _nothing),
    Patch(_MIDDLEWARE, "_DjangoMiddleware.process_exception", _nothing),
)
