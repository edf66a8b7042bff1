"""What a message of a channel layer carries: the span that sent it, under a key the application is not shown.

The message is the application's: it is copied, never written to, and what is received loses the key before anybody
sees it. A process without clew that receives it sees a key it does not know; `CLEW_ASGI_CHANNEL_LAYER=false` at the
sender keeps it out.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, get_current_span

from clew import attributes as names
from clew.engine import configuration
from clew.seams.asgi.episode import outside

KEY = "__clew__"
_MAX_HELD = 2000
# Received, not dispatched yet: by the id of the message, which is held so that the id stays its own.
_carried: dict[int, tuple[Any, dict[str, str]]] = {}
# How many handlers here are already below a span that sent.
_below: dict[int, int] = {}


class Origin(NamedTuple):
    """Where the handling of a message belongs.

    Args:
        context: with the span that it is below, if any.
        links: to who sent it, where it is not below that.
        is_own_trace: it is the first span of a trace.
    """

    context: Context
    links: list[Link]
    is_own_trace: bool


def with_carrier(message: Any) -> Any:
    """A copy of the message that says who sends it; the message itself where that cannot be said."""
    if type(message) is not dict or KEY in message:
        return message
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return {**message, KEY: carrier} if carrier else message


def take_out(message: Any) -> None:
    """Keep what a received message carries apart from it; a message that was received is a new object."""
    carrier = message.pop(KEY, None) if type(message) is dict else None
    if isinstance(carrier, dict):
        if len(_carried) >= _MAX_HELD:
            _carried.pop(next(iter(_carried)), None)
        _carried[id(message)] = message, {str(key): str(value) for key, value in carrier.items()}


def origin_of(message: Any, said: dict[str, Any]) -> Origin:
    """Where a message's handling belongs; what is to be said of it is added to `said`."""
    held, carrier = _carried.pop(id(message), (None, {}))
    context = propagate.extract(carrier, outside()) if held is message else outside()
    sender = get_current_span(context).get_span_context()
    if not sender.is_valid:
        return Origin(context, [], is_own_trace=False)
    said[names.CHANNEL_LAYER_TRACE_ID] = f"{sender.trace_id:032x}"
    said[names.CHANNEL_LAYER_SPAN_ID] = f"{sender.span_id:016x}"
    settings = configuration.settings
    links = [Link(sender, {names.CLEW_LINK_KIND: "publish"})]
    return Origin(context, links, settings.task_parent == "link" or _number(sender) > settings.fan_out)


def _number(sender: SpanContext) -> int:
    if len(_below) >= _MAX_HELD and sender.span_id not in _below:
        _below.pop(next(iter(_below)), None)
    number = _below[sender.span_id] = _below.get(sender.span_id, 0) + 1
    return number


def reset() -> None:
    """Nothing is waited for any more."""
    _carried.clear()
    _below.clear()
