"""Attributes of the SERVER span: the stable HTTP conventions, read from the request without evaluating anything of it.

contrib's own collectors cost 100 us, leave `url.path` out without RAW_URI, put the port into `server.address`
(docs/upstream.md, django 9) and raise on paths outside latin-1 (django 11); they are asked only where the old names are
wanted.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from opentelemetry.util.http import sanitize_method

from clew import attributes as names
from clew.engine import isolation, redaction

_PLAIN_PATH = re.compile(r"[A-Za-z0-9/._~\-]*\Z").match
_DEFAULT_PORTS = {"http": 80, "https": 443}
_MAX_LENGTH = 2048
_NO_HEADERS: Mapping[str, Any] = MappingProxyType({})


@functools.lru_cache(maxsize=128)
def _known_method(method: str) -> str:
    return str(sanitize_method(method.strip()))


def known_method(request: Any) -> str:
    """The request's method, `_OTHER` for one that HTTP does not know."""
    method = getattr(request, "method", "")
    return _known_method(method if isinstance(method, str) else "")


def verb_of(request: Any) -> str:
    """The method, as the name of a span says it."""
    method = known_method(request)
    return "HTTP" if method == "_OTHER" else method


def headers_of(request: Any) -> Mapping[str, Any]:
    """The request's META, whatever a site's tests put in its place."""
    meta = getattr(request, "META", None)
    return meta if isinstance(meta, Mapping) else _NO_HEADERS


def request_attributes(request: Any, mode: str) -> dict[str, Any]:
    """Attributes of a request at its start, by the names wanted (OTEL_SEMCONV_STABILITY_OPT_IN)."""
    if mode == "http":
        return stable_attributes(request)
    attributes = contrib_attributes(request, mode)
    return {**attributes, **stable_attributes(request)} if mode == "http/dup" or not attributes else attributes


def stable_attributes(request: Any) -> dict[str, Any]:
    """Attributes by the stable conventions."""
    meta, method, scheme = headers_of(request), known_method(request), scheme_of(request)
    attributes: dict[str, Any] = {
        names.HTTP_REQUEST_METHOD: method,
        names.URL_PATH: _path(request),
        names.URL_SCHEME: scheme,
    }
    if method == "_OTHER":
        attributes[names.HTTP_REQUEST_METHOD_ORIGINAL] = str(request.method)[:64]
    if query := meta.get("QUERY_STRING"):
        attributes[names.URL_QUERY] = redaction.redactor.query(str(query)[:_MAX_LENGTH])
    _add_server(attributes, meta, scheme)
    if address := meta.get("REMOTE_ADDR"):
        attributes[names.CLIENT_ADDRESS] = str(address)
    if agent := meta.get("HTTP_USER_AGENT"):
        attributes[names.USER_AGENT_ORIGINAL] = redaction.redactor.text(str(agent)[:_MAX_LENGTH])
    if version := _protocol_version(request, meta):
        attributes[names.NETWORK_PROTOCOL_VERSION] = version
    return attributes


def scheme_of(request: Any) -> str:
    """`http` or `https`."""
    try:
        return str(request.scheme)
    except Exception:  # noqa: BLE001 - a wrong SECURE_PROXY_SSL_HEADER is the application's to report
        return str(headers_of(request).get("wsgi.url_scheme", "http"))


def _path(request: Any) -> str:
    path = str(getattr(request, "path", ""))
    if _PLAIN_PATH(path):
        return path[:_MAX_LENGTH]
    from django.utils.encoding import escape_uri_path

    try:
        # `/login;jsessionid=...` has a name before its value, also where no route was found.
        return redaction.redactor.text(escape_uri_path(path)[:_MAX_LENGTH])
    except UnicodeError:
        return path.encode("ascii", "backslashreplace").decode()[:_MAX_LENGTH]


def _add_server(attributes: dict[str, Any], meta: Any, scheme: str) -> None:
    host = meta.get("HTTP_HOST")
    address, number = _server_of(str(host)[:255], scheme) if host else (meta.get("SERVER_NAME"), None)
    if not host:
        port = str(meta.get("SERVER_PORT") or "")
        number = int(port) if port.isdecimal() else _DEFAULT_PORTS.get(scheme)
    if address:
        attributes[names.SERVER_ADDRESS] = str(address)
        if number:
            attributes[names.SERVER_PORT] = number


@functools.lru_cache(maxsize=256)
def _server_of(host: str, scheme: str) -> tuple[str, int | None]:
    address, port = _split_host(host)
    return address, int(port) if port.isdecimal() else _DEFAULT_PORTS.get(scheme)


def _split_host(host: str) -> tuple[str, str]:
    if host.startswith("["):
        address, _, rest = host[1:].partition("]")
        return address, rest.removeprefix(":")
    address, _, port = host.partition(":")
    return address, port


def _protocol_version(request: Any, meta: Mapping[str, Any]) -> str:
    scope = getattr(request, "scope", None)
    if isinstance(scope, dict):
        return str(scope.get("http_version", ""))
    protocol = str(meta.get("SERVER_PROTOCOL", ""))
    return protocol[5:] if protocol.startswith("HTTP/") else protocol


def contrib_attributes(request: Any, mode: str) -> dict[str, Any]:
    """Attributes by contrib's own collectors; what they cannot read is left out."""
    try:
        from opentelemetry.instrumentation import _semconv, asgi, wsgi

        wanted = _semconv._StabilityMode(mode)
        scope = getattr(request, "scope", None)
        if isinstance(scope, dict):
            found = dict(asgi.collect_request_attributes(scope, wanted))
        else:
            found = dict(wsgi.collect_request_attributes(dict(headers_of(request)), wanted))
        return {**found, **redaction.redactor.attributes(found)}
    except (UnicodeError, ValueError):
        return {}
    except Exception as error:  # noqa: BLE001 - contrib's trouble must not reach the application
        isolation.warn(f"clew: requests have stable attributes only, since contrib's cannot be had: {error!r}")
        return {}
