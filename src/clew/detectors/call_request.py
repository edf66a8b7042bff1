"""What calls of one place ask for, as the spans of their instrumentation say it: what they share, and what differs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import FrameType
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from clew.detectors.parameters import digest_of
from clew.engine import needs

_URLS = ("url.full", "http.url")
_METHODS = ("http.request.method", "http.method")
_STATUSES = ("http.response.status_code", "http.status_code")
_STATEMENTS = ("db.query.text", "db.statement")
_SAFE = frozenset(("GET", "HEAD", "OPTIONS"))
_ID = re.compile(r"\d+|[0-9a-fA-F]{8,}|[0-9a-fA-F-]{32,}")
_REDIS = "opentelemetry.instrumentation.redis"
_COMMANDS = needs.functions(
    _REDIS,
    "_traced_execute_factory.<locals>._traced_execute_command",
    "_async_traced_execute_factory.<locals>._async_traced_execute_command",
)
_SENDS = {need.name for need in _COMMANDS}
_MAX_FRAMES = 12
_TRY_AGAIN = frozenset((202, 206, 408, 425, 429))
_FIRST_SERVER_ERROR = 500

needs.declare(__name__, *_COMMANDS, consequence="one Redis command that is sent again is not told from many")


class Request:
    """What one call asks for.

    Args:
        verb: GET, POST; the command.
        where: the service, and of HTTP the path, piece by piece.
        query: parameters of a URL.
        digest: the same for the same request; None: it cannot be told.
    """

    __slots__ = ("digest", "host", "is_safe", "path", "query", "verb")

    def __init__(self, verb: str, host: str, path: tuple[str, ...], query: dict[str, str], digest: int | None) -> None:
        self.verb = verb
        self.host = host
        self.path = path
        self.query = query
        self.digest = digest
        self.is_safe = verb in _SAFE

    def __str__(self) -> str:
        return str(Template(self))


def request_of(span: Any, attributes: Any, arguments: int | None) -> Request:
    """What a call asks for, by its span; `arguments` as `arguments_of` has told them."""
    url = _first(attributes, _URLS)
    if url:
        verb, parts = _first(attributes, _METHODS) or "GET", urlsplit(url)
        host = f"{parts.scheme}://{parts.hostname}{f':{parts.port}' if parts.port else ''}"
        query = dict(parse_qsl(parts.query, keep_blank_values=True))
        return Request(verb, host, tuple(parts.path.split("/")[1:]), query, hash((verb, url)))
    verb = str(attributes.get("rpc.method") or attributes.get("db.operation.name") or span.name)
    digest = None if arguments is None else hash((verb, arguments))
    return Request(verb, str(attributes.get("server.address") or ""), (), {}, digest)


def arguments_of(frame: FrameType | None) -> int | None:
    """Of a Redis command that is about to be sent, what it is sent with; None of any other call."""
    for _ in range(_MAX_FRAMES):
        if frame is None:
            return None
        code = frame.f_code
        if code.co_name in _SENDS and frame.f_globals.get("__name__") == _REDIS:
            # What wraps a function by wrapt is given the function, its object, its arguments.
            return digest_of(frame.f_locals.get(code.co_varnames[2]))
        frame = frame.f_back
    return None


def has_to_be_asked_again(attributes: Any) -> bool:
    """Whether the answer was none yet: an error of the service's, a job that goes on, a part of a file."""
    status = _first(attributes, _STATUSES)
    if not status.isdecimal():
        return "error.type" in attributes
    return int(status) >= _FIRST_SERVER_ERROR or int(status) in _TRY_AGAIN


def statement_of(attributes: Any) -> str:
    """The text of a command."""
    return _first(attributes, _STATEMENTS)


def _first(attributes: Any, names: tuple[str, ...]) -> str:
    return next((str(attributes[name]) for name in names if name in attributes), "")


class Template:
    """What the requests of one place have in common.

    Args:
        first: the first of them.
    """

    __slots__ = ("_first", "_parts", "names")

    def __init__(self, first: Request) -> None:
        self._first = first
        self._parts: list[str | None] = list(first.path)
        # Parameters that are not always the same.
        self.names: set[str] = set()

    def add(self, request: Request) -> None:
        """Take account of another one."""
        first, parts = self._first, self._parts
        if len(request.path) < len(parts):
            del parts[len(request.path) :]
        for at, (part, other) in enumerate(zip(parts, request.path, strict=False)):
            if part != other:
                parts[at] = None
        if request.query != first.query:
            of_both = {*request.query, *first.query}
            self.names |= {name for name in of_both if request.query.get(name) != first.query.get(name)}

    def varying(self) -> Iterator[str]:
        """The pieces of the path before those that differ."""
        for at, part in enumerate(self._parts):
            if part is None:
                yield (self._parts[at - 1] or "") if at else ""

    def __str__(self) -> str:
        first = self._first
        parts = ["{}" if part is None or _ID.fullmatch(part) else part for part in self._parts]
        path = f"/{'/'.join(parts)}" if first.path else ""
        query = f"?{'&'.join(f'{name}={{}}' for name in first.query)}" if first.query else ""
        return f"{first.verb} {first.host}{path}{query}" if first.path else first.verb
