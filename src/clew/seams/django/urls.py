"""URL resolving: attributes of the request's span, and a span `resolve` only when it takes a millisecond.

We stand at `BaseHandler.resolve_request`, where Django itself stores the match on the request: contrib resolves a
second time, with the wrong urlconf when the site switches it (docs/upstream.md, django 4, contrib #2710).
"""

from __future__ import annotations

from time import time_ns
from typing import Any

from clew import attributes as names
from clew.engine import configuration
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.django.request.route import readable
from clew.spans.scope import Scope
from clew.story import local_trace

SCOPE = Scope(__name__)


def _begin(state: local_trace.LocalTrace | None) -> tuple[local_trace.LocalTrace, int] | None:
    return None if state is None else (state, time_ns())


def _resolved(opened: tuple[local_trace.LocalTrace, int], result: Any, error: BaseException | None) -> None:
    local, began = opened
    match = None if error is not None else result
    if time_ns() - began >= configuration.settings.resolve_threshold_ms * 1e6:
        span = SCOPE.under(local.root.span, "resolve", {}, start_ns=began)
        if span is not None:
            if match is not None:
                span.note(names.HTTP_ROUTE, readable(match.route) or "/")
            span.close()
    if match is not None:
        # For what is told meanwhile: the request's span is named at its end.
        local.where = {names.HTTP_ROUTE: readable(match.route) or "/"}
        if match.url_name:
            local.root.note(names.DJANGO_URL_NAME, match.url_name)
        if match.namespace:
            local.root.note(names.DJANGO_URL_NAMESPACE, match.namespace)


_AROUND = Around(_begin, close=_resolved, state=local_trace.current)
SEAM = Seam(
    "django.urls",
    patches=(Patch("django.core.handlers.base", "BaseHandler.resolve_request", _AROUND),),
    spans=(SpanDoc("resolve", "INTERNAL", "URL resolving that takes 1 ms or more", (names.HTTP_ROUTE,)),),
)
