"""The SERVER span `GET users/<username>/`, from the handler's `get_response` until the last byte of the body.

We stand at `BaseHandler.get_response` and its async twin, outside the middleware: there every request is seen, whatever
its middleware does, in the mode the site runs in (contrib's middleware is sync-only and pushes the whole chain below it
through a thread, docs/upstream.md, django 8), and one `finally` ends it, also on cancellation and SystemExit (7).
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from contextvars import Token
from typing import Any

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.instrumentation.propagators import get_global_response_propagator
from opentelemetry.instrumentation.utils import extract_attributes_from_object
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import INVALID_SPAN, SpanKind, get_current_span
from opentelemetry.trace.propagation import _SPAN_KEY

from clew import attributes as names
from clew.engine import isolation
from clew.engine.redaction.exception_event import type_name
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.django import contrib
from clew.seams.django.request import metrics as request_metrics
from clew.seams.django.request import response_body
from clew.seams.django.request.attributes import headers_of, request_attributes, scheme_of, verb_of
from clew.seams.django.request.headers import captured_request_headers, captured_response_headers
from clew.seams.django.request.metrics import Attributes
from clew.seams.django.request.outcome import name_by_route, note_error, note_status, route_of, status_of
from clew.spans import scope as spans
from clew.spans.current import SUPPRESS, attach, detach, get_current
from clew.spans.usual_propagators import are_usual
from clew.story import local_trace
from clew.story.local_trace import LocalTrace

SCOPE = __name__


class ServedRequest:
    """One request being served: its span, what was current before, and its end.

    Args:
        request: Django's request.
        root: the span, started.
        attributes: gives what it started with, for the metrics.
    """

    __slots__ = (
        "_context",
        "_ended",
        "_is_measured",
        "_metrics",
        "local",
        "request",
        "root",
        "token_context",
        "token_local",
    )

    def __init__(self, request: Any, root: spans.OpenSpan, context: Context, attributes: Attributes) -> None:
        self.request = request
        self.root = root
        self._ended = self._is_measured = False
        self._metrics = request_metrics.started(attributes)
        pipeline = spans.pipeline()
        self.local = LocalTrace(root, pipeline.max_spans_per_trace if pipeline else 0)
        self._context = Context({**context, _SPAN_KEY: root.span})
        self.token_context: Token[Context] | None = attach(self._context)
        self.token_local = local_trace.enter(self.local)

    def finish(self, response: Any, error: BaseException | None) -> None:
        """The handler has returned or raised: end the span, or leave it open for the body."""
        try:
            self._describe(response, error)
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, SCOPE)
        local_trace.leave(self.token_local)
        if self.token_context is not None:
            detach(self.token_context)
        try:
            if error is None and response_body.follow(response, self._context, self.local, self.end):
                return
            if self.local.is_recording:
                response_body.remember(response, self._context, self.local, self.end)
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, SCOPE)
        self.end(None)

    def end(self, error: BaseException | None, *, is_over: bool = True) -> None:
        """End the span. Called once or more: by the body's last part, by its error, by the response's close.

        The request is measured when it `is_over`: a body may go on.
        """
        has_ended, self._ended = self._ended, True
        try:
            if not has_ended:
                self._finish(error)
            if is_over and not self._is_measured:
                self._is_measured = True
                self._metrics.record(self.request)
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, SCOPE)
        if not has_ended:
            self.root.close()

    def _finish(self, error: BaseException | None) -> None:
        if error is not None:
            note_error(self.root, error)
        if self.local.queries is not None or self.local.findings is not None:
            self.local.where = {names.HTTP_ROUTE: route_of(self.request)}
        self.local.response_status = self._metrics.status_code
        self.local.finish()

    def _describe(self, response: Any, error: BaseException | None) -> None:
        root, request = self.root, self.request
        if not self.local.is_recording:
            self._metrics.status_code = status_of(response)
            if response is not None:
                _call_hook(contrib.State.response_hook, root.span, request, response)
            return
        name_by_route(root, request)
        root.note(names.DJANGO_VIEW_REACHED, self.local.is_view_reached)
        if error is not None:
            note_error(root, error)
        uncaught, raised = self.local.uncaught_error, self.local.answered_error
        self.local.uncaught_error = self.local.answered_error = None
        if response is None:
            return
        self._metrics.status_code = status = status_of(response)
        note_status(root, status, uncaught or raised)
        if uncaught is not None and status < 500:  # of a handler500, the site's
            note_error(root, uncaught)
        captured_response_headers(root.span, response)
        _call_hook(contrib.State.response_hook, root.span, request, response)


def _call_hook(hook: Any, *args: Any) -> None:
    """Call a hook of the site's; its errors are told, as contrib does."""
    if hook is None:
        return
    try:
        hook(*args)
    except Exception as error:  # noqa: BLE001 - the site's hook, as contrib treats it
        isolation.warn(f"clew: {getattr(hook, '__qualname__', 'a hook')} raised {type_name(error)}: {error}")


def call_request_hook(request: Any, local: LocalTrace) -> None:
    """Call the site's request_hook, at the place in the chain where contrib's middleware would stand."""
    _call_hook(contrib.State.request_hook, local.root.span, request)


def _begin(request: Any) -> ServedRequest | None:
    pipeline, context, kind = spans.pipeline(), get_current(), SpanKind.INTERNAL
    if pipeline is None or contrib.State.is_switched_off or context.get(SUPPRESS) or _is_excluded(request):
        return None
    if context.get(_SPAN_KEY) is None or get_current_span(context) is INVALID_SPAN:
        context, kind = _extracted(request, context), SpanKind.SERVER
    attributes = functools.partial(request_attributes, request, contrib.State.mode)
    root = spans.start_root(pipeline, SCOPE, verb_of(request), kind, context, attributes)
    if root is None:
        return None
    if root.span.is_recording():
        if kind is SpanKind.SERVER:
            captured_request_headers(root.span, request)
        if wanted := contrib.State.traced_attributes:
            root.span.set_attributes(extract_attributes_from_object(request, wanted))
    served = ServedRequest(request, root, context, attributes)
    if contrib.State.middleware_position == 0:
        call_request_hook(request, served.local)
    return served


@functools.lru_cache(maxsize=100)
def _name_in_meta(header: str) -> str:
    return f"HTTP_{header.upper().replace('-', '_')}"


class _Headers(Getter[Mapping[str, Any]]):
    """Reads META, where Django puts the headers under both WSGI and ASGI; what is no text is not there."""

    def get(self, carrier: Mapping[str, Any], key: str) -> list[str] | None:
        value = carrier.get(_name_in_meta(key))
        return [value] if isinstance(value, str) else None

    def keys(self, carrier: Mapping[str, Any]) -> list[str]:
        return [key[5:].lower().replace("_", "-") for key in carrier if key.startswith("HTTP_")]


_HEADERS = _Headers()


def _extracted(request: Any, context: Context) -> Context:
    headers = headers_of(request)
    if (
        "HTTP_TRACEPARENT" not in headers
        and "HTTP_BAGGAGE" not in headers
        and are_usual(propagate.get_global_textmap())
    ):
        return context  # nothing that they would read
    return propagate.extract(headers, context, _HEADERS)


def _is_excluded(request: Any) -> bool:
    excluded: Any = contrib.State.excluded_urls
    if not getattr(excluded, "_excluded_urls", excluded):
        return False
    meta = headers_of(request)
    host = meta.get("HTTP_HOST") or meta.get("SERVER_NAME", "")
    return bool(excluded.url_disabled(f"{scheme_of(request)}://{host}{getattr(request, 'path', '')}"))


def _answered(result: Any) -> None:
    propagator = get_global_response_propagator()
    if propagator is not None:
        propagator.inject(result)


def _finish(opened: ServedRequest, result: Any, error: BaseException | None) -> None:
    opened.finish(result, error)


def _raised(exc: BaseException, result: Any) -> None:
    """Django makes a response of an exception: from 500 on it is what the request failed with."""
    local = local_trace.current()
    if local is not None and status_of(result) >= 500:
        local.answered_error = local.answered_error or exc


def _uncaught(exc_info: tuple[Any, BaseException, Any]) -> None:
    """A view's exception, or that of a handler404 which was to answer another one."""
    if (local := local_trace.current()) is not None:
        local.uncaught_error = exc_info[1]


_AROUND = Around(_begin, _answered, close=_finish)


SEAM = Seam(
    "django.request",
    patches=(
        Patch("django.core.handlers.base", "BaseHandler.get_response", _AROUND),
        Patch("django.core.handlers.base", "BaseHandler.get_response_async", _AROUND),
        Patch("django.core.handlers.exception", "response_for_exception", Around(note=_raised)),
        Patch("django.core.handlers.exception", "handle_uncaught_exception", Around(note=_uncaught)),
        Patch(
            "django.http.response",
            "HttpResponseBase.close",
            Around(response_body.closing, close=response_body.closed),
        ),
    ),
    spans=(
        SpanDoc(
            "GET users/<username>/",
            "SERVER",
            "a request, from the handler until the last byte of its body",
            (
                *(names.HTTP_REQUEST_METHOD, names.HTTP_REQUEST_METHOD_ORIGINAL, names.HTTP_ROUTE),
                *(names.HTTP_RESPONSE_STATUS_CODE, names.URL_PATH, names.URL_QUERY, names.URL_SCHEME),
                *(names.SERVER_ADDRESS, names.SERVER_PORT, names.CLIENT_ADDRESS, names.USER_AGENT_ORIGINAL),
                *(names.NETWORK_PROTOCOL_VERSION, names.DJANGO_VIEW_REACHED, names.DJANGO_VIEW_DENIED_BY),
                *(names.DJANGO_VIEW_DENIED_REASON, names.DJANGO_URL_NAME, names.DJANGO_URL_NAMESPACE),
                *(names.DJANGO_RESPONSE_SHORT_CIRCUITED_BY, names.DJANGO_RESPONSE_RAISED_BY),
                *(names.DJANGO_REQUEST_CANCELLED, names.DJANGO_MIDDLEWARE_TIMINGS, names.PROCESS_MEMORY_DELTA),
                names.PROCESS_RECYCLED_AFTER,
            ),
        ),
        SpanDoc(
            "stream events/",
            "SERVER",
            "a body that goes on, after `max_stream_seconds` and again every so often; linked to its request",
            (names.DJANGO_STREAM_NUMBER, names.DJANGO_STREAM_TRACE_ID, names.DJANGO_STREAM_SPAN_ID),
        ),
    ),
    on_install=contrib.prepare,
    on_ready=contrib.take_over,
    on_uninstall=contrib.give_back,
)
