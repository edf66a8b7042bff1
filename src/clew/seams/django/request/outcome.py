"""What the SERVER span says at its end: its name by the route, its status, its error.

4xx leaves a SERVER span UNSET (semantic conventions, HTTP), also when the view raised Http404 to get there
(docs/upstream.md, django 2).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote
from uuid import UUID

from opentelemetry.trace import Status, StatusCode

from clew import attributes as names
from clew.engine import redaction
from clew.engine.redaction.exception_event import CANCELLED, error_description, exception_attributes, type_name
from clew.seams.django import contrib
from clew.seams.django.request.attributes import verb_of
from clew.seams.django.request.route import readable
from clew.spans import scope as spans

_OF_PATH = (names.URL_PATH, "url.full", "http.target", "http.url")
# A shorter argument may stand in the path by chance, too: then it is the last such part.
_SHORT = 5


def name_by_route(root: spans.OpenSpan, request: Any) -> None:
    """Name the span after the route Django has found, if it has."""
    match = getattr(request, "resolver_match", None)
    route = getattr(match, "route", None)
    if not isinstance(route, str):
        return
    route = readable(route)
    root.note(names.HTTP_ROUTE, route or "/")
    root.rename(f"{verb_of(request)} {route or getattr(match, 'url_name', '') or '/'}")
    if kwargs := getattr(match, "kwargs", None):
        _hide_arguments(root, kwargs)


def _hide_arguments(root: spans.OpenSpan, kwargs: Mapping[str, Any]) -> None:
    """Of `reset/<uidb64>/<token>/` the token: only now it is known which part of the path it was."""
    span: Any = root.span
    for name, value in kwargs.items():
        if type(value) is UUID:  # as the key of a row is
            is_secret = redaction.redactor.is_secret_name(name)
        else:
            is_secret = type(value) in (str, int) and redaction.redactor.is_secret_argument(name, str(value))
        if not is_secret:
            continue
        for secret in {str(value), quote(str(value))}:
            for key in _OF_PATH:
                text = span.attributes.get(key)
                if secret and isinstance(text, str) and secret in text:
                    root.note(key, redaction.REDACTED.join(text.rsplit(secret, -1 if len(secret) > _SHORT else 1)))


def route_of(request: Any) -> str:
    """The route Django has found, as `http.route` has it; "" where none was found."""
    route = getattr(getattr(request, "resolver_match", None), "route", None)
    return (readable(route) or "/") if isinstance(route, str) else ""


def status_of(response: Any) -> int:
    """A response's status code; 0 where it has none that is a number."""
    status = getattr(response, "status_code", 0)
    return status if isinstance(status, int) else 0


def note_status(root: spans.OpenSpan, status: int, raised: BaseException | None) -> None:
    """Note the status code, and an error from 500 on: the exception that led to it, if there was one."""
    if not status:
        return
    root.note(names.HTTP_RESPONSE_STATUS_CODE, status)
    if contrib.State.mode != "http":
        root.note("http.status_code", status)
    if status < 500:
        return
    if raised is not None:
        note_error(root, raised)
        return
    root.note(names.ERROR_TYPE, str(status))
    root.span.set_status(Status(StatusCode.ERROR))


def note_error(root: spans.OpenSpan, error: BaseException) -> None:
    """Note an exception that ended the request, or a client that went away."""
    if isinstance(error, CANCELLED):
        root.note(names.DJANGO_REQUEST_CANCELLED, value=True)
        return
    root.note(names.ERROR_TYPE, type_name(error))
    root.span.add_event("exception", exception_attributes(error))
    root.span.set_status(Status(StatusCode.ERROR, error_description(error)))
