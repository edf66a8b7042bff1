"""A message that is handled: one that a client has sent, or one that came through a channel layer."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import Link, SpanContext, SpanKind

from clew import attributes as names
from clew.engine import redaction
from clew.seams.asgi import carrying, episode
from clew.seams.asgi.episode import Episode

_MAX_TEXT = 200


def begin(scope: str, message: Any, route: str, opening: SpanContext | None) -> Episode | None:
    """Begin the span of its handling.

    Args:
        scope: the seam's.
        message: as the application is given it.
        route: of the connection, "" where none is known.
        opening: the span of the connection's opening.
    """
    kind = type_of(message)
    said: dict[str, Any] = {names.WEBSOCKET_MESSAGE_TYPE: kind, **_size(message)}
    if route:
        said[names.HTTP_ROUTE] = route
    if kind == "websocket.disconnect":
        said |= close_attributes(message)
    links = []
    if opening is not None and opening.is_valid:
        links.append(Link(opening, {names.CLEW_LINK_KIND: "websocket"}))
        said[names.WEBSOCKET_TRACE_ID] = f"{opening.trace_id:032x}"
        said[names.WEBSOCKET_SPAN_ID] = f"{opening.span_id:016x}"
    origin = carrying.origin_of(message, said)
    links += origin.links
    span_kind = SpanKind.SERVER if kind.startswith("websocket.") else SpanKind.CONSUMER
    where = {names.HTTP_ROUTE: route} if route else {}
    name = f"{kind} {route}".rstrip()
    return episode.begin(scope, name, span_kind, origin.context, said, links, where, is_own_trace=origin.is_own_trace)


def type_of(message: Any) -> str:
    """The ASGI or channel layer type of a message."""
    return str(message.get("type", ""))[:_MAX_TEXT] if isinstance(message, dict) else ""


def close_attributes(message: dict[str, Any]) -> dict[str, Any]:
    """Code and reason of a close, as the client or the application gives them."""
    said: dict[str, Any] = {}
    if type(code := message.get("code")) is int:
        said[names.WEBSOCKET_CLOSE_CODE] = code
    if type(reason := message.get("reason")) is str and reason:
        said[names.WEBSOCKET_CLOSE_REASON] = redaction.redactor.text(reason[:_MAX_TEXT])
    return said


def _size(message: Any) -> dict[str, Any]:
    held: Any = (message.get("text") or message.get("bytes")) if isinstance(message, dict) else None
    return {names.WEBSOCKET_MESSAGE_SIZE: len(held)} if type(held) in (str, bytes) else {}
