"""`GET events/<room>/`: a request that one of Channels' HTTP consumers answers, which Django's handler never sees.

We stand where the consumer is called, and at `http_request`, which calls the application's `handle` with the body. What
a channel layer sends it meanwhile is part of the request. A response that is sent for longer than `max_stream_seconds`
(server-sent events, long polls) is told then, as a websocket's message is: it goes on below.
"""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from types import FrameType
from typing import Any

from opentelemetry import propagate
from opentelemetry.trace import SpanKind, get_current_span
from opentelemetry.util.http import sanitize_method

from clew import attributes as names
from clew.engine import configuration
from clew.engine.redaction.exception_event import CANCELLED
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.asgi import episode
from clew.seams.asgi.episode import Episode
from clew.seams.asgi.websocket.consumer import is_answer, view_of
from clew.seams.asgi.websocket.scope import HEADERS, ROUTE, headers_of, is_excluded, opening_attributes, route_of
from clew.seams.django.request.outcome import note_status
from clew.spans.current import get_current
from clew.spans.scope import OpenSpan, Scope

SCOPE = Scope(__name__)


class Request:
    """One request.

    Args:
        opened: its span.
    """

    __slots__ = ("_began", "_episode", "_status")

    def __init__(self, opened: Episode) -> None:
        self._episode, self._began, self._status = opened, monotonic(), 0

    def sent(self, message: Any) -> None:
        """The consumer has sent this to the client."""
        kind = message.get("type", "") if isinstance(message, dict) else ""
        if kind == "http.response.start" and type(message.get("status")) is int:
            self._status = message["status"]
        seconds = configuration.settings.max_stream_seconds
        if kind == "http.response.body" and seconds and monotonic() - self._began > seconds:
            self._end(None)

    def _end(self, error: BaseException | None) -> None:
        if not self._episode.is_over:
            note_status(self._episode.root, self._status, None)
            self._episode.end(error)

    def close(self, error: BaseException | None) -> None:
        """The consumer has returned or raised."""
        if isinstance(error, CANCELLED):
            self._episode.note({names.DJANGO_REQUEST_CANCELLED: True})
            error = None
        self._end(error)
        self._episode.leave()


def _open(consumer: Any, /, scope: Any, caller: FrameType) -> Request | None:
    if scope.get("type") != "http":
        return None
    headers = headers_of(scope)
    opened = None if is_excluded(scope, headers) else _begin(scope, headers, route_of(caller))
    return None if opened is None else Request(opened)


def _begin(scope: Mapping[str, Any], headers: dict[str, str], route: str) -> Episode | None:
    context, kind = get_current(), SpanKind.INTERNAL
    if not get_current_span(context).get_span_context().is_valid:
        context, kind = propagate.extract(headers, context, HEADERS), SpanKind.SERVER
    method = sanitize_method(str(scope.get("method", "")))
    said = {names.HTTP_REQUEST_METHOD: method, **opening_attributes(scope, headers)}
    where = {names.HTTP_ROUTE: route} if route else {}
    verb = "HTTP" if method == "_OTHER" else method
    return episode.begin(SCOPE.name, f"{verb} {route}".rstrip(), kind, context, said | where, where=where)


def _send(opened: Request, send: Any) -> Any:
    return _SENDING.quickly(send, is_generic=True, is_async=True, request=opened)


def _sent(request: Request, positional: tuple[Any, ...]) -> None:
    request.sent(positional[0])


_SENDING = Around(lambda: True, _sent, close=lambda: None)


def _open_view(consumer: Any, /, message: Any) -> OpenSpan | None:
    if isinstance(message, dict) and message.get("more_body"):
        return None
    found = view_of(type(consumer), "http.request")
    return None if found is None else SCOPE.open(found[0], static=found[1])


def _close_view(opened: OpenSpan, error: BaseException | None) -> None:
    opened.close(None if is_answer(error) else error)


_CONSUMER = "channels.generic.http"
SEAM = Seam(
    "asgi.http_consumer",
    patches=(
        Patch(_CONSUMER, "AsyncHttpConsumer.__call__", Around(_open, change={"send": _send})),
        Patch(_CONSUMER, "AsyncHttpConsumer.http_request", Around(_open_view, close=_close_view)),
    ),
    spans=(
        SpanDoc(
            "GET events/<room>/",
            "SERVER",
            "a request that an HTTP consumer of Channels answers",
            (
                *(names.HTTP_REQUEST_METHOD, names.HTTP_RESPONSE_STATUS_CODE, names.HTTP_ROUTE, names.URL_PATH),
                *(names.URL_QUERY, names.URL_SCHEME, names.SERVER_ADDRESS, names.SERVER_PORT, names.CLIENT_ADDRESS),
                *(names.USER_AGENT_ORIGINAL, names.DJANGO_REQUEST_CANCELLED, names.ERROR_TYPE),
            ),
        ),
        SpanDoc(
            "view shop.consumers.Events.handle",
            "INTERNAL",
            "the method of an HTTP consumer that answers",
            (names.DJANGO_VIEW_NAME, names.DJANGO_VIEW_KIND, names.DJANGO_VIEW_HANDLER, *names.CODE),
        ),
    ),
    needs=ROUTE,
)
