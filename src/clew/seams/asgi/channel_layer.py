"""`group_send chat.message`: a message given to a channel layer, with what leads its handlers back to it.

We stand at `send`, `group_send` and `receive` of Channels' in-memory layer, of channels_redis' two, and of those that
the site's settings name. Who receives one is the seam `asgi.websocket`'s to tell.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from types import FrameType
from typing import Any

from opentelemetry.context import attach, detach, set_value
from opentelemetry.trace import SpanKind

from clew import attributes as names
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.asgi import carrying
from clew.source.call_site import call_site
from clew.spans.current import SUPPRESS
from clew.spans.scope import OpenSpan, Scope

SCOPE = Scope(__name__)
_LAYERS = (
    ("channels.layers", "InMemoryChannelLayer"),
    ("channels_redis.core", "RedisChannelLayer"),
    ("channels_redis.pubsub", "RedisPubSubLoopLayer"),
)
# Asked by their names, these ask the layer of the running loop.
_ASKING_OTHERS = ("channels_redis.pubsub.RedisPubSubChannelLayer",)
_MAX_TYPE = 100
# While a layer sends: what a group's message is to each of its channels is not sent again.
_is_sending: ContextVar[bool] = ContextVar("clew_channel_layer", default=False)


class Sending:
    """One message that is being sent; without a span where nothing is recorded."""

    __slots__ = ("_span", "_token")

    def __init__(self, span: OpenSpan | None) -> None:
        self._span, self._token = span, _is_sending.set(True)

    def close(self, error: BaseException | None) -> None:
        """It is sent, or not."""
        _is_sending.reset(self._token)
        if self._span is not None:
            self._span.close(error)


def _open(operation: str, layer: Any, message: Any, caller: FrameType) -> Sending | None:
    if _is_sending.get():
        return None
    kind = message.get("type") if type(message) is dict else None
    said: dict[str, Any] = {
        names.MESSAGING_SYSTEM: type(layer).__module__.partition(".")[0],
        names.MESSAGING_OPERATION_NAME: operation,
        names.MESSAGING_OPERATION_TYPE: "send",
    }
    span = SCOPE.open(f"{operation} {str(kind)[:_MAX_TYPE] if kind else ''}".rstrip(), said, SpanKind.PRODUCER)
    site = call_site(caller) if span is not None else None
    if span is not None and site is not None:
        for name, value in site.attributes().items():
            span.note(name, value)
    return Sending(span)


def _open_send(layer: Any, /, message: Any, caller: FrameType) -> Sending | None:
    return _open("send", layer, message, caller)


def _open_group_send(layer: Any, /, message: Any, caller: FrameType) -> Sending | None:
    return _open("group_send", layer, message, caller)


def _changed(message: Any) -> Any:
    return carrying.with_carrier(message)


def _quiet() -> Any:
    """It waits for messages as long as a connection lasts: what a driver asks meanwhile is no trace."""
    return attach(set_value(SUPPRESS, True))


def _taken_out(result: Any) -> None:
    carrying.take_out(result)


_SEND = Around(_open_send, change={"message": _changed})
_GROUP_SEND = Around(_open_group_send, change={"message": _changed})
_RECEIVE = Around(_quiet, _taken_out, close=lambda opened: detach(opened))


def _patches(module: str, kind: str) -> tuple[Patch, ...]:
    methods = (("send", _SEND), ("group_send", _GROUP_SEND), ("receive", _RECEIVE))
    return tuple(Patch(module, f"{kind}.{name}", around) for name, around in methods)


def _stand_at_the_sites() -> None:
    settings = sys.modules["django.conf"].settings
    known = {f"{module}.{kind}" for module, kind in _LAYERS}.union(_ASKING_OTHERS)
    for layer in (getattr(settings, "CHANNEL_LAYERS", None) or {}).values():
        path = layer.get("BACKEND", "") if isinstance(layer, dict) else ""
        module, _, kind = str(path).rpartition(".")
        if module and path not in known:
            for patch in _patches(module, kind):
                SEAM.stand_at(patch)


SEAM = Seam(
    "asgi.channel_layer",
    patches=tuple(patch for layer in _LAYERS for patch in _patches(*layer)),
    spans=(
        SpanDoc(
            "group_send chat.message",
            "PRODUCER",
            "a message that is given to a channel layer; its handlers are below it, the first 200 in each process",
            (
                *(names.MESSAGING_SYSTEM, names.MESSAGING_OPERATION_NAME, names.MESSAGING_OPERATION_TYPE),
                *names.CODE,
            ),
        ),
    ),
    on_ready=_stand_at_the_sites,
    on_uninstall=carrying.reset,
)
