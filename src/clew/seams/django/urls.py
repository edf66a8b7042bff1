"""URL resolving: attributes of the request's span, and a span `resolve` only when it takes a millisecond.

We stand at `BaseHandler.resolve_request`, where Django itself stores the match on the request: contrib resolves a
second time, with the wrong urlconf when the site switches it (upstream-defects 4, contrib #2710).
"""

from __future__ import annotations

from time import time_ns
from typing import Any

from clew import attributes as names
from clew.core import configuration, local_trace
from clew.core.spans import Scope
from clew.engine import isolation
from clew.engine.seam import Patch, Seam, SpanDoc, like

SCOPE = Scope(__name__)


def _wrap_resolve(original: Any) -> Any:
    def resolve_request(self: Any, request: Any) -> Any:
        local = local_trace.current()
        if local is None or not local.is_recording:
            return original(self, request)
        began = time_ns()
        match = None
        try:
            match = original(self, request)
            return match
        finally:
            _resolved(local, match, began)

    return like(original, resolve_request)


def _resolved(local: local_trace.LocalTrace, match: Any, began: int) -> None:
    try:
        took = time_ns() - began
        if took >= configuration.settings.resolve_threshold_ms * 1e6:
            span = SCOPE.under(local.root.span, "resolve", {}, start_ns=began)
            if span is not None:
                if match is not None:
                    span.note(names.HTTP_ROUTE, match.route or "/")
                span.close()
        if match is not None:
            if match.url_name:
                local.root.note(names.DJANGO_URL_NAME, match.url_name)
            if match.namespace:
                local.root.note(names.DJANGO_URL_NAMESPACE, match.namespace)
    except Exception as ours:  # noqa: BLE001 - ours must not reach the application
        isolation.report(ours, __name__)


SEAM = Seam(
    "django.urls",
    patches=(Patch("django.core.handlers.base", "BaseHandler.resolve_request", _wrap_resolve),),
    spans=(SpanDoc("resolve", "INTERNAL", "URL resolving that takes 1 ms or more", (names.HTTP_ROUTE,)),),
)
