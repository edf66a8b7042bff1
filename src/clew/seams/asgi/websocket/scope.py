"""What the span of a websocket's opening says of the client's request, read from the ASGI scope."""

from __future__ import annotations

from collections.abc import Mapping
from types import FrameType
from typing import Any
from urllib.parse import quote

from opentelemetry.propagators.textmap import Getter

from clew import attributes as names
from clew.engine import needs, redaction
from clew.seams.django import contrib
from clew.seams.django.request.route import readable

_ROUTING = "channels.routing"
ROUTE = needs.inside(_ROUTING, "URLRouter.__call__", "route")
_MAX_LENGTH, _MAX_FRAMES, _MAX_HEADERS = 2048, 100, 100


class _Headers(Getter[Mapping[str, str]]):
    def get(self, carrier: Mapping[str, str], key: str) -> list[str] | None:
        value = carrier.get(key.lower())
        return None if value is None else [value]

    def keys(self, carrier: Mapping[str, str]) -> list[str]:
        return list(carrier)


HEADERS = _Headers()


def headers_of(scope: Mapping[str, Any]) -> dict[str, str]:
    """The request's headers, by their lower-case names."""
    held: Any = scope.get("headers")
    pairs = held[:_MAX_HEADERS] if type(held) in (list, tuple) else ()
    return {name.decode("latin1").lower(): value.decode("latin1") for name, value in pairs}


def opening_attributes(scope: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
    """Attributes by the conventions for HTTP, secrets redacted."""
    scheme = str(scope.get("scheme") or "ws")
    path = redaction.redactor.text(quote(str(scope.get("path", ""))[:_MAX_LENGTH], safe="/~:@!$&'()*+,;=-._"))
    said: dict[str, Any] = {names.URL_SCHEME: scheme, names.URL_PATH: path}
    query = scope.get("query_string")
    if type(query) is bytes and query:
        said[names.URL_QUERY] = redaction.redactor.query(query[:_MAX_LENGTH].decode("latin1"))
    address, _, port = headers.get("host", "")[:255].rpartition(":")
    if not port.isdecimal():
        address, port = headers.get("host", "")[:255], "443" if scheme in ("wss", "https") else "80"
    if address:
        said[names.SERVER_ADDRESS], said[names.SERVER_PORT] = address, int(port)
    client: Any = scope.get("client")
    if type(client) in (list, tuple) and client and client[0]:
        said[names.CLIENT_ADDRESS] = str(client[0])
    if agent := headers.get("user-agent"):
        said[names.USER_AGENT_ORIGINAL] = redaction.redactor.text(agent[:_MAX_LENGTH])
    return said


def is_excluded(scope: Mapping[str, Any], headers: Mapping[str, str]) -> bool:
    """Whether the site does not want this URL traced (`OTEL_PYTHON_DJANGO_EXCLUDED_URLS`)."""
    excluded: Any = contrib.State.excluded_urls
    if not getattr(excluded, "_excluded_urls", excluded):
        return False
    return bool(
        excluded.url_disabled(f"{scope.get('scheme', 'ws')}://{headers.get('host', '')}{scope.get('path', '')}")
    )


def route_of(frame: FrameType | None) -> str:
    """The route by which Channels' routers have come to the consumer that `frame` calls; "" where there is none."""
    parts: list[str] = []
    for _ in range(_MAX_FRAMES):
        if frame is None:
            break
        if frame.f_code.co_name == "__call__" and frame.f_globals.get("__name__") == _ROUTING:
            route = frame.f_locals.get("route")
            if route is not None:
                parts.append(str(route.pattern))
        frame = frame.f_back
    return readable("".join(reversed(parts)))
