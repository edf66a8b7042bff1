"""The SERVER span `GET users/<username>/`, from the handler's `get_response` until the last byte of the body.

We stand at `BaseHandler.get_response` and its async twin, outside the middleware: there every request is seen, whatever
its middleware does, in the mode the site runs in (contrib's middleware is sync-only and pushes the whole chain below it
through a thread, upstream-defects 8), and one `finally` ends it, also on cancellation and SystemExit (7).
"""

from __future__ import annotations

from contextvars import Token
from typing import Any

from opentelemetry import propagate
from opentelemetry.context import Context, attach, detach, get_current
from opentelemetry.instrumentation.asgi import asgi_getter
from opentelemetry.instrumentation.propagators import get_global_response_propagator
from opentelemetry.instrumentation.utils import extract_attributes_from_object
from opentelemetry.instrumentation.wsgi import wsgi_getter
from opentelemetry.trace import INVALID_SPAN, SpanKind, get_current_span, set_span_in_context

from clew import attributes as names
from clew.core import local_trace, spans
from clew.core.local_trace import LocalTrace
from clew.core.pipeline import Pipeline
from clew.core.transactions import RESPONSE_STATUS
from clew.engine import isolation
from clew.engine.exception_event import type_name
from clew.engine.seam import Patch, Seam, SpanDoc, like
from clew.seams.django import contrib, request_metrics, response_body
from clew.seams.django.request_attributes import known_method, request_attributes
from clew.seams.django.request_headers import captured_request_headers, captured_response_headers
from clew.seams.django.request_outcome import name_by_route, note_error, note_status, route_of

SCOPE = __name__


class ServedRequest:
    """One request being served: its span, what was current before, and its end.

    Args:
        request: Django's request.
        root: the span, started.
        attributes: what it started with, for the metrics.
    """

    __slots__ = ("_context", "_ended", "_metrics", "local", "request", "root", "token_context", "token_local")

    def __init__(self, request: Any, root: spans.OpenSpan, context: Context, attributes: dict[str, Any]) -> None:
        self.request = request
        self.root = root
        self._ended = False
        self._metrics = request_metrics.started(attributes)
        pipeline = spans.pipeline()
        self.local = LocalTrace(root, pipeline.max_spans_per_trace if pipeline else 0)
        self._context = set_span_in_context(root.span, context)
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
            if error is None and getattr(response, "streaming", False):
                response_body.follow(response, self._context, self.local, self.end)
                return
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, SCOPE)
        self.end(None)

    def end(self, error: BaseException | None) -> None:
        """End the span. Called once or more: by the body's last part, by its error, by the response's close."""
        if self._ended:
            return
        self._ended = True
        try:
            if error is not None:
                note_error(self.root, error)
            if self.local.queries is not None or self.local.findings is not None:
                self.local.where = {names.HTTP_ROUTE: route_of(self.request)}
            self.local.notes[RESPONSE_STATUS] = self._metrics.status_code
            self.local.finish()
            self._metrics.record(self.request)
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, SCOPE)
        self.root.close()

    def _describe(self, response: Any, error: BaseException | None) -> None:
        root, request = self.root, self.request
        if not self.local.is_recording:
            self._metrics.status_code = getattr(response, "status_code", 0)
            if response is not None:
                _call_hook("_otel_response_hook", root.span, request, response)
            return
        name_by_route(root, request)
        root.note(names.DJANGO_VIEW_REACHED, "view" in self.local.notes)
        if error is not None:
            note_error(root, error)
        raised = self.local.notes.pop("exception", None)
        if response is None:
            return
        status = response.status_code
        self._metrics.status_code = status
        note_status(root, status, raised)
        captured_response_headers(root.span, response)
        _call_hook("_otel_response_hook", root.span, request, response)


def _call_hook(name: str, *args: Any) -> None:
    hook = getattr(contrib.middleware(), name)
    if hook is None:
        return
    try:
        hook(*args)
    except Exception as error:  # noqa: BLE001 - the site's hook, as contrib treats it
        isolation.warn(f"clew: {name.removeprefix('_otel_')} raised {type_name(error)}: {error}")


def call_request_hook(request: Any, local: LocalTrace) -> None:
    """Call the site's request_hook, at the place in the chain where contrib's middleware would stand."""
    _call_hook("_otel_request_hook", local.root.span, request)


def begin(request: Any) -> ServedRequest | None:
    """Start the span of a request; None where it is not traced. Never raises."""
    try:
        pipeline = spans.pipeline()
        if pipeline is None or contrib.State.is_switched_off or spans.is_suppressed() or _is_excluded(request):
            return None
        return _start(request, pipeline)
    except Exception as error:  # noqa: BLE001 - ours must not reach the application
        isolation.report(error, SCOPE)
        return None


def _start(request: Any, pipeline: Pipeline) -> ServedRequest | None:
    context, kind = get_current(), SpanKind.INTERNAL
    if get_current_span(context) is INVALID_SPAN:
        context, kind = _extracted(request, context), SpanKind.SERVER
    attributes = request_attributes(request, contrib.middleware()._sem_conv_opt_in_mode)
    method = known_method(request.method)
    name = "HTTP" if method == "_OTHER" else method
    root = spans.start_root(pipeline, SCOPE, name, kind, context, attributes)
    if root is None:
        return None
    if root.span.is_recording():
        if kind is SpanKind.SERVER:
            captured_request_headers(root.span, request)
        if wanted := contrib.middleware()._traced_request_attrs:
            root.span.set_attributes(extract_attributes_from_object(request, wanted))
    served = ServedRequest(request, root, context, attributes)
    if contrib.State.middleware_position == 0:
        call_request_hook(request, served.local)
    return served


def _extracted(request: Any, context: Context) -> Context:
    scope = getattr(request, "scope", None)
    if scope is not None:
        return propagate.extract(scope, context, asgi_getter)
    return propagate.extract(request.META, context, wsgi_getter)


def _is_excluded(request: Any) -> bool:
    excluded: Any = contrib.middleware()._excluded_urls
    if not getattr(excluded, "_excluded_urls", True):
        return False
    host = request.META.get("HTTP_HOST") or request.META.get("SERVER_NAME", "")
    return bool(excluded.url_disabled(f"{request.scheme}://{host}{request.path}"))


def _wrap_get_response(original: Any) -> Any:
    def get_response(self: Any, request: Any) -> Any:
        __traceback_hide__ = True
        served = begin(request)
        if served is None:
            return original(self, request)
        response = error = None
        try:
            response = original(self, request)
            _inject_into(response)
            return response
        except BaseException as raised:
            error = raised
            raise
        finally:
            served.finish(response, error)
            del error

    return like(original, get_response)


def _wrap_get_response_async(original: Any) -> Any:
    async def get_response_async(self: Any, request: Any) -> Any:
        __traceback_hide__ = True
        served = begin(request)
        if served is None:
            return await original(self, request)
        response = error = None
        try:
            response = await original(self, request)
            _inject_into(response)
            return response
        except BaseException as raised:
            error = raised
            raise
        finally:
            served.finish(response, error)
            del error

    return like(original, get_response_async)


def _inject_into(response: Any) -> None:
    propagator = get_global_response_propagator()
    if propagator is None:
        return
    try:
        propagator.inject(response)
    except Exception as error:  # noqa: BLE001 - someone else's propagator
        isolation.report(error, "the response propagator")


def _wrap_response_for_exception(original: Any) -> Any:
    def response_for_exception(request: Any, exc: Any) -> Any:
        response = None
        try:
            response = original(request, exc)
            return response
        finally:
            local = local_trace.current()
            if local is not None and (response is None or response.status_code >= 500):
                local.notes["exception"] = exc

    return like(original, response_for_exception)


SEAM = Seam(
    "django.request",
    patches=(
        *contrib.PATCHES,
        Patch("django.core.handlers.base", "BaseHandler.get_response", _wrap_get_response),
        Patch("django.core.handlers.base", "BaseHandler.get_response_async", _wrap_get_response_async),
        Patch("django.core.handlers.exception", "response_for_exception", _wrap_response_for_exception),
    ),
    spans=(
        SpanDoc(
            "GET users/<username>/",
            "SERVER",
            "a request, from the handler until the last byte of its body",
            (
                names.HTTP_REQUEST_METHOD,
                names.HTTP_ROUTE,
                names.HTTP_RESPONSE_STATUS_CODE,
                names.URL_PATH,
                names.URL_QUERY,
                names.URL_SCHEME,
                names.SERVER_ADDRESS,
                names.SERVER_PORT,
                names.CLIENT_ADDRESS,
                names.USER_AGENT_ORIGINAL,
                names.NETWORK_PROTOCOL_VERSION,
                names.DJANGO_VIEW_REACHED,
                names.DJANGO_URL_NAME,
                names.DJANGO_URL_NAMESPACE,
                names.DJANGO_RESPONSE_SHORT_CIRCUITED_BY,
                names.DJANGO_RESPONSE_RAISED_BY,
                names.DJANGO_REQUEST_CANCELLED,
                names.DJANGO_MIDDLEWARE_TIMINGS,
                names.ERROR_TYPE,
            ),
        ),
    ),
    on_install=contrib.take_over,
    on_uninstall=contrib.give_back,
)
