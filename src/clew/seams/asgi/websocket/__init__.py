"""`websocket chat/<room>/`: a websocket's opening; `websocket.receive chat/<room>/`: a message that is handled.

We stand where a server calls the application (uvicorn, daphne, hypercorn) and at Channels' routers and consumers,
whichever comes first, and below that around every message: in Channels at `await_many_dispatch`, through which each
consumer, sync or async, gets its own; in any other application from one `receive()` to the next, or to the end of the
task that has received it. Not seen: before Python 3.12, what is done with a message that a task of its own receives.
"""

from __future__ import annotations

from types import FrameType
from typing import Any

from clew import attributes as names
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.engine.wrapper_steps import invisible
from clew.seams.asgi.websocket.connection import CURRENT, Connection, connection_of
from clew.seams.asgi.websocket.consumer import is_answer, view_of
from clew.seams.asgi.websocket.scope import ROUTE
from clew.spans.scope import OpenSpan, Scope

SCOPE = Scope(__name__)


class Handling:
    """A message while a consumer handles it.

    Args:
        connection: its connection.
        message: as the consumer is given it.
    """

    __slots__ = ("_connection", "_is_opening", "_view")

    def __init__(self, connection: Connection, message: Any) -> None:
        kind = message.get("type", "") if isinstance(message, dict) else ""
        self._connection = connection
        opening = connection.opening
        self._is_opening = kind == "websocket.connect" and opening is not None and not opening.is_over
        if not self._is_opening:
            connection.handle(message)
        found = view_of(type(connection.consumer), str(kind))
        self._view: OpenSpan | None = None if found is None else SCOPE.open(found[0], static=found[1])

    def close(self, error: BaseException | None) -> None:
        """It is handled."""
        error = None if is_answer(error) else error
        if self._view is not None:
            self._view.close(error)
        if self._is_opening:
            self._connection.opened(error)
        else:
            self._connection.handled(error)


def _handle(connection: Connection, positional: tuple[Any, ...]) -> Handling:
    return Handling(connection, positional[0])


_HANDLING = Around(_handle)


def _dispatching(dispatch: Any) -> Any:
    connection = CURRENT.get()
    if connection is None or connection.consumer is None:
        return dispatch
    return _HANDLING.quickly(dispatch, is_generic=True, is_async=True, connection=connection)


def _before_receive(connection: Connection) -> Connection | None:
    if connection.consumer is not None:
        return None
    connection.handled(None)
    return connection


def _received(opened: Connection, result: Any) -> None:
    if opened.consumer is None and isinstance(result, dict) and result.get("type") != "websocket.connect":
        opened.handle(result)


def _sent(connection: Connection, positional: tuple[Any, ...]) -> None:
    connection.sent(positional[0])


_RECEIVING = Around(_before_receive, _received, close=lambda: None)
_SENDING = Around(lambda: True, _sent, close=lambda: None)


def _receive(opened: Connection, receive: Any) -> Any:
    return _RECEIVING.quickly(receive, is_generic=True, is_async=True, connection=opened)


def _send(opened: Connection, send: Any) -> Any:
    return _SENDING.quickly(send, is_generic=True, is_async=True, connection=opened)


def _open(scope: Any) -> Connection | None:
    return connection_of(scope)


def _open_consumer(consumer: Any, /, scope: Any, caller: FrameType) -> Connection | None:
    opened = connection_of(scope)
    if (connection := CURRENT.get()) is not None:
        connection.serve(consumer, caller)
    return opened


def _close(opened: Connection, error: BaseException | None) -> None:
    opened.close(error)


_CHANGED = {"receive": _receive, "send": _send}
_APPLICATION = Around(_open, close=_close, change=_CHANGED)
_CONSUMER = Around(_open_consumer, close=_close, change=_CHANGED)


def _followed(application: Any) -> Any:
    @invisible
    async def follow(scope: Any, receive: Any, send: Any) -> Any:
        __traceback_hide__ = True
        return await application(scope, receive, send)

    return _APPLICATION.quickly(follow)


def _made_by_uvicorn(protocol: Any, /) -> None:
    protocol.app = _followed(protocol.app)


def _made_by_daphne(server: Any, /) -> None:
    server.application = _followed(server.application)


_UVICORN = "uvicorn.protocols.websockets"
_OF_UVICORN, _OF_DAPHNE = Around(note=_made_by_uvicorn), Around(note=_made_by_daphne)
SEAM = Seam(
    "asgi.websocket",
    patches=(
        Patch(f"{_UVICORN}.websockets_impl", "WebSocketProtocol.__init__", _OF_UVICORN),
        Patch(f"{_UVICORN}.wsproto_impl", "WSProtocol.__init__", _OF_UVICORN),
        Patch(f"{_UVICORN}.websockets_sansio_impl", "WebSocketsSansIOProtocol.__init__", _OF_UVICORN, since="0.35"),
        Patch("daphne.server", "Server.__init__", _OF_DAPHNE),
        Patch("hypercorn.app_wrappers", "ASGIWrapper.__call__", _APPLICATION),
        Patch("channels.routing", "ProtocolTypeRouter.__call__", _APPLICATION),
        Patch("channels.routing", "URLRouter.__call__", _APPLICATION),
        Patch("channels.consumer", "AsyncConsumer.__call__", _CONSUMER),
        Patch(
            "channels.utils",
            "await_many_dispatch",
            Around(change={"dispatch": _dispatching}),
            is_imported_by_name=True,
        ),
    ),
    spans=(
        SpanDoc(
            "websocket chat/<room>/",
            "SERVER",
            "the opening of a websocket, until it is answered; of a Channels consumer, until `connect` has returned",
            (
                *(names.WEBSOCKET_OUTCOME, names.WEBSOCKET_REJECTED_BY, names.WEBSOCKET_SUBPROTOCOL),
                *(names.WEBSOCKET_CLOSE_CODE, names.WEBSOCKET_CLOSE_REASON, names.HTTP_RESPONSE_STATUS_CODE),
                *(names.HTTP_ROUTE, names.URL_PATH, names.URL_QUERY, names.URL_SCHEME, names.SERVER_ADDRESS),
                *(names.SERVER_PORT, names.CLIENT_ADDRESS, names.USER_AGENT_ORIGINAL),
            ),
        ),
        SpanDoc(
            "websocket.receive chat/<room>/",
            "SERVER",
            "a message that is handled, the client's or (CONSUMER, `chat.message chat/<room>/`) one of a channel "
            "layer, linked to the connection's opening",
            (
                *(names.WEBSOCKET_MESSAGE_TYPE, names.WEBSOCKET_MESSAGE_SIZE, names.WEBSOCKET_TRACE_ID),
                *(names.WEBSOCKET_SPAN_ID, names.CHANNEL_LAYER_TRACE_ID, names.CHANNEL_LAYER_SPAN_ID),
            ),
        ),
        SpanDoc(
            "view chat.ChatConsumer.receive_json",
            "INTERNAL",
            "the method of a Channels consumer that handles a message",
            (names.DJANGO_VIEW_NAME, names.DJANGO_VIEW_KIND, names.DJANGO_VIEW_HANDLER, *names.CODE),
        ),
    ),
    needs=ROUTE,
)
