"""Headers the site asked for by contrib's `OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_*` variables, on the SERVER span.

Read once: contrib reads and compiles them for every request. A header under a secret name is recorded as redacted.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Mapping
from typing import Any

from opentelemetry.trace import Span, SpanKind
from opentelemetry.util.http import (
    OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS,
    OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST,
    OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE,
    SanitizeValue,
    get_custom_headers,
    normalise_request_header_name,
)

from clew.engine import redaction
from clew.seams.django.request.attributes import headers_of


@functools.lru_cache(maxsize=8)
def _is_wanted(variable: str, value: str | None) -> bool:
    return bool(value and value.strip())


def _wants(variable: str) -> bool:
    return _is_wanted(variable, os.environ.get(variable))


def captured_request_headers(span: Span, request: Any) -> None:
    """Set `http.request.header.*` for the headers asked for."""
    if not _wants(OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST):
        return
    from opentelemetry.instrumentation import asgi, wsgi

    scope = getattr(request, "scope", None)
    if not isinstance(scope, dict):
        headers = {name: value for name, value in headers_of(request).items() if isinstance(value, str)}
        _set(span, wsgi.collect_custom_request_headers_attributes(headers))
        return
    sanitize = SanitizeValue(get_custom_headers(OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SANITIZE_FIELDS))
    wanted = get_custom_headers(OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST)
    _set(span, asgi.collect_custom_headers_attributes(scope, sanitize, wanted, normalise_request_header_name))


def captured_response_headers(span: Span, response: Any) -> None:
    """Set `http.response.header.*` for the headers asked for."""
    if not _wants(OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE) or not _is_server(span):
        return
    from opentelemetry.instrumentation import wsgi

    headers = getattr(response, "headers", None)
    if isinstance(headers, Mapping):
        _set(span, wsgi.collect_custom_response_headers_attributes(list(response.items())))


def _is_server(span: Span) -> bool:
    return span.is_recording() and getattr(span, "kind", None) is SpanKind.SERVER


def _set(span: Span, attributes: dict[str, Any]) -> None:
    redactor = redaction.redactor
    for key, values in attributes.items():
        header = key.rpartition(".")[2].replace("_", "-")
        secret = redactor.is_secret_name(header)
        span.set_attribute(key, [redaction.REDACTED] if secret else values)
