"""Whose code handles a message of a Channels consumer: the method that the application has written, and its line."""

from __future__ import annotations

import functools
from typing import Any

from clew import attributes as names
from clew import span_names
from clew.source import code_location
from clew.spans.identity import StaticAttributes

# What Channels' generic consumers call for a message, the innermost first.
_METHODS = {
    "websocket.connect": ("connect",),
    "websocket.receive": ("receive_json", "receive"),
    "websocket.disconnect": ("disconnect",),
    "http.request": ("handle",),
}
# Exceptions by which a consumer answers.
_ANSWERS = ("AcceptConnection", "DenyConnection", "StopConsumer")


def is_answer(error: BaseException | None) -> bool:
    """Whether an exception is a consumer's way of saying something, and no error."""
    return type(error).__module__ == "channels.exceptions" and type(error).__name__ in _ANSWERS


def method_of(kind: type, message_type: str) -> str:
    """The application's own method for a message; "" where the library's stand alone."""
    for name in (*_METHODS.get(message_type, ()), message_type.replace(".", "_")):
        if not getattr(getattr(kind, name, None), "__module__", "channels.").startswith("channels."):
            return name
    return ""


def view_of(kind: type, message_type: str) -> tuple[str, StaticAttributes] | None:
    """Name and attributes of the view's span; None where no code of the application handles the message."""
    return _view_of(kind, message_type, are_full=span_names.State.are_full)


@functools.lru_cache(maxsize=500)
def _view_of(kind: type, message_type: str, *, are_full: bool) -> tuple[str, StaticAttributes] | None:
    method = method_of(kind, message_type)
    if not method:
        return None
    owner = code_location.dotted_name(kind)
    said: dict[str, Any] = {
        names.DJANGO_VIEW_NAME: f"{owner}.{method}",
        names.DJANGO_VIEW_KIND: "consumer",
        names.DJANGO_VIEW_HANDLER: method,
        **code_location.method_attributes(kind, method),
    }
    return f"view {code_location.short_name(owner, kind)}.{method}", StaticAttributes(said)
