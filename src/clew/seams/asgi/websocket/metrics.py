"""Metrics of websockets: how many are open, for how long, and what handling their messages takes."""

from __future__ import annotations

from time import perf_counter
from typing import Any

from clew import attributes as names
from clew.engine.metric import COUNTER, HISTOGRAM, LONG_S, UP_DOWN, Metric, is_metered
from clew.engine.redaction.exception_event import type_name

_SCOPE = "clew.seams.asgi.websocket"
_OUTSIDE = (names.HTTP_ROUTE, names.WEBSOCKET_MESSAGE_TYPE, names.ERROR_TYPE)
_OPEN = Metric(
    *(_SCOPE, names.CLEW_WEBSOCKET_CONNECTIONS, UP_DOWN, "{connection}"),
    *("Websockets that are accepted and not over.", *_OUTSIDE),
)
_DURATION = Metric(
    *(_SCOPE, names.CLEW_WEBSOCKET_DURATION, HISTOGRAM, "s"),
    *("From a websocket's opening to its end, by what became of the opening.", *_OUTSIDE),
    bounds=LONG_S,
)
_MESSAGES = Metric(
    *(_SCOPE, names.CLEW_WEBSOCKET_MESSAGE_DURATION, HISTOGRAM, "s"),
    *("Handling of a message, the client's or one of a channel layer.", *_OUTSIDE),
)
_SENT = Metric(*(_SCOPE, names.CLEW_WEBSOCKET_SENT, COUNTER, "{message}"), *("Messages sent to clients.", *_OUTSIDE))


class ConnectionMetrics:
    """Those of one connection; its route may become known later than it begins."""

    __slots__ = ("_began", "_handling", "_open", "where")

    def __init__(self) -> None:
        self._began = perf_counter()
        # As what it is counted as open; the message that is handled, and since when.
        self._open: dict[str, Any] | None = None
        self._handling: tuple[str, float] | None = None
        self.where: dict[str, Any] = {}

    def accepted(self) -> None:
        """It is open."""
        if self._open is None:
            self._open = _OPEN.record(1, self.where)

    def sent(self) -> None:
        """A message is sent to the client."""
        _SENT.record(1, self.where)

    def handle(self, kind: str) -> None:
        """A message begins to be handled."""
        self._handling = kind, perf_counter()

    def handled(self, error: BaseException | None) -> None:
        """It is handled, if one was."""
        handling, self._handling = self._handling, None
        if handling is not None:
            labels = {**self.where, names.WEBSOCKET_MESSAGE_TYPE: handling[0]}
            if error is not None:
                labels[names.ERROR_TYPE] = type_name(error)
            _MESSAGES.record(perf_counter() - handling[1], labels)

    def closed(self, outcome: str) -> None:
        """It is over."""
        if self._open is not None:
            _OPEN.record(-1, self._open)
            self._open = None
        if outcome:
            _DURATION.record(perf_counter() - self._began, {**self.where, names.WEBSOCKET_OUTCOME: outcome})


def begin() -> ConnectionMetrics | None:
    """Those of a connection that begins; None where nobody would see them."""
    return ConnectionMetrics() if is_metered() else None
