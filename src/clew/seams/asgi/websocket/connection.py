"""A websocket in this process: its opening, and which message is being handled. Nothing of it lasts as long as it does.

The opening's span ends with the answer (a plain application's) or with the handler of `websocket.connect` (a
consumer's). A message is the first span of a trace, linked to the opening (docs/rationale.md).
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextvars import ContextVar
from time import monotonic
from types import FrameType
from typing import Any

from opentelemetry import propagate
from opentelemetry.trace import SpanContext, SpanKind, get_current_span

from clew import attributes as names
from clew.engine import configuration, redaction
from clew.engine.redaction.exception_event import CANCELLED
from clew.seams.asgi import episode
from clew.seams.asgi.episode import Episode
from clew.seams.asgi.websocket import holder, metrics
from clew.seams.asgi.websocket import message as messages
from clew.seams.asgi.websocket.scope import HEADERS, headers_of, is_excluded, opening_attributes, route_of
from clew.source import code_location
from clew.spans.current import get_current

SCOPE = "clew.seams.asgi.websocket"
CURRENT: ContextVar[Connection | None] = ContextVar("clew_websocket", default=None)
_ANSWERS = ("websocket.accept", "websocket.close", "websocket.http.response.start")
_MAX_REASON = 200


class Connection:
    """One websocket, or one channel that a Channels worker reads.

    Args:
        scope: ASGI's.
    """

    __slots__ = (
        "_began",
        "_headers",
        "_holder",
        "_is_answered",
        "_is_websocket",
        "_metrics",
        "_outcome",
        "_outer",
        "_task",
        "consumer",
        "link",
        "message",
        "opening",
        "route",
    )

    def __init__(self, scope: Mapping[str, Any], headers: dict[str, str]) -> None:
        self.consumer: Any = None
        self.route, self._is_answered = "", False
        self._headers = headers
        self._metrics, self._outcome = metrics.begin(), ""
        self._task = self._holder = holder.running()
        self._outer = CURRENT.get()
        CURRENT.set(self)
        self.message: Episode | None = None
        self._began = monotonic()
        self._is_websocket = scope["type"] == "websocket"
        self.opening = self._open(scope) if self._is_websocket else None
        # What a message's span is linked to.
        self.link: SpanContext | None = None if self.opening is None else self.opening.span_context

    def _open(self, scope: Mapping[str, Any]) -> Episode | None:
        context, kind = get_current(), SpanKind.INTERNAL
        if not get_current_span(context).get_span_context().is_valid:
            context, kind = propagate.extract(self._headers, context, HEADERS), SpanKind.SERVER
        said = opening_attributes(scope, self._headers)
        return episode.begin(SCOPE, "websocket", kind, context, said)

    def serve(self, consumer: Any, frame: FrameType) -> None:
        """A consumer of Channels' takes it."""
        if self.consumer is not None:
            return
        self.consumer, self.route = consumer, route_of(frame)
        if self._metrics is not None and self.route:
            self._metrics.where = {names.HTTP_ROUTE: self.route}
        if self.opening is not None and self.route:
            self.opening.root.rename(f"websocket {self.route}")
            self.opening.note({names.HTTP_ROUTE: self.route})
            self.opening.local.where = {names.HTTP_ROUTE: self.route}

    def sent(self, message: Any) -> None:
        """The application has sent this to the client."""
        kind = message.get("type", "") if isinstance(message, dict) else ""
        if kind in _ANSWERS and not self._is_answered:
            self._answered(kind, message)
        elif kind == "websocket.close" and self.message is not None:
            self.message.note(messages.close_attributes(message))
        elif kind == "websocket.send":
            self._end_what_goes_on()
            if self._metrics is not None:
                self._metrics.sent()

    def _answered(self, kind: str, message: dict[str, Any]) -> None:
        self._is_answered = True
        self._outcome = "accepted" if kind == "websocket.accept" else "rejected"
        if self._metrics is not None and self._outcome == "accepted":
            self._metrics.accepted()
        telling = self.opening if self.opening is not None and not self.opening.is_over else self.message
        if telling is None:
            return
        if kind == "websocket.accept":
            telling.note({names.WEBSOCKET_OUTCOME: self._outcome})
            if protocol := message.get("subprotocol"):
                telling.note({names.WEBSOCKET_SUBPROTOCOL: str(protocol)[:_MAX_REASON]})
        else:
            telling.note({names.WEBSOCKET_OUTCOME: self._outcome, **self._rejection(message)})
        if self.consumer is None and telling is self.opening:
            telling.end()

    def _rejection(self, message: dict[str, Any]) -> dict[str, Any]:
        said = messages.close_attributes(message)
        if (status := message.get("status")) is not None:
            said[names.HTTP_RESPONSE_STATUS_CODE] = int(status)
        if self.consumer is not None:
            kind = type(self.consumer)
            said[names.WEBSOCKET_REJECTED_BY] = code_location.dotted_name(kind)
            if kind.__module__ == "channels.security.websocket":
                origin = self._headers.get("origin")
                about = f"its origin {origin[:_MAX_REASON]} is not allowed" if origin else "it has no origin"
                said[names.WEBSOCKET_CLOSE_REASON] = redaction.redactor.text(about)
        return said

    def _end_what_goes_on(self) -> None:
        """What sends and sends is no answer to a message any more: its span ends, it goes on below it."""
        going_on = self.message or self.opening
        seconds = configuration.settings.max_stream_seconds
        if going_on is not None and seconds and monotonic() - self._began > seconds:
            going_on.end()

    def opened(self, error: BaseException | None) -> None:
        """Its opening is over."""
        if self.opening is None or self.opening.is_over:
            return
        if error is not None and not isinstance(error, CANCELLED):
            self._outcome = "failed"
        self.opening.note({names.WEBSOCKET_OUTCOME: self._outcome or "unanswered"})
        self.opening.end(error)

    def handle(self, message: Any) -> None:
        """Begin to handle a message, in the context of the task that handles it."""
        self._began = monotonic()
        if self._metrics is not None:
            self._metrics.handle(messages.type_of(message))
        self._holder = holder.holder_of(self._task) if self.consumer is None else holder.running()
        if self.consumer is None and self._holder is not None and self._holder is not self._task:
            self._holder.remove_done_callback(self._over)
            self._holder.add_done_callback(self._over)
        holder.run_in(self._holder, self._begin, message)

    def _begin(self, message: Any) -> None:
        self.message = messages.begin(SCOPE, message, self.route, self.link)

    def _over(self, task: asyncio.Task[Any]) -> None:
        """A task has ended that may have been handling one; to ask for its exception would keep asyncio silent."""
        if task is self._holder:
            self.handled(getattr(task, "_exception", None))

    def handled(self, error: BaseException | None) -> None:
        """It is handled."""
        message, self.message = self.message, None
        if self._metrics is not None:
            self._metrics.handled(error)
        if message is not None and not holder.run_in(self._holder, message.leave, error):
            message.end(error)

    def close(self, error: BaseException | None) -> None:
        """The application has returned or raised."""
        CURRENT.set(self._outer)
        self.handled(error)
        self.opened(error)
        if self._metrics is not None:
            self._metrics.closed((self._outcome or "unanswered") if self._is_websocket else "")
        if self.opening is not None:
            self.opening.leave()


def connection_of(scope: Any) -> Connection | None:
    """A connection that begins here; None where it is another's, or is not to be told."""
    if CURRENT.get() is not None or scope.get("type") not in ("websocket", "channel"):
        return None
    headers = headers_of(scope)
    return None if is_excluded(scope, headers) else Connection(scope, headers)
