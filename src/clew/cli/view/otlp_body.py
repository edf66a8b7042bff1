"""Reads the bodies that OTLP senders post: protobuf or JSON, plain, gzip or deflate, and never more than a
limit.

A receiver on a developer's machine meets half-configured exporters. Each way a body can be wrong becomes one
sentence that says what is wrong, for the sender's log and for the terminal.
"""

from __future__ import annotations

import base64
import json
import zlib
from typing import Any

from google.protobuf.json_format import ParseDict, ParseError
from google.protobuf.message import DecodeError
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

# What is left is copied for each.
_MAX_MEMBERS = 100
MAX_BODY = 64 * 1024 * 1024
PROTOBUF = "application/x-protobuf"
JSON = "application/json"

# 31 takes the gzip header only, 15 the zlib header, -15 none: senders disagree on what "deflate" is.
_WINDOWS = {"gzip": (31,), "x-gzip": (31,), "deflate": (15, -15)}


class BadBodyError(Exception):
    """A body that cannot be used.

    Args:
        reason: one line for the sender and the terminal.
        status: the HTTP status to answer with.
    """

    def __init__(self, reason: str, status: int = 400) -> None:
        super().__init__(reason)
        self.status = status


def decompress(body: bytes, encoding: str, limit: int = MAX_BODY) -> bytes:
    """Undo the Content-Encoding of a body.

    Args:
        body: what was sent.
        encoding: the header's value; "" and "identity" mean none.
        limit: bytes the result may have.

    Raises:
        BadBodyError: an unknown encoding (415), broken data (400), or more than `limit` bytes (413).
    """
    encoding = encoding.strip().lower()
    if encoding in ("", "identity"):
        return body
    if encoding not in _WINDOWS:
        raise BadBodyError(f"content encoding {encoding[:40]!r} is not gzip, deflate or identity", 415)
    for window in _WINDOWS[encoding]:
        try:
            return _inflate(body, window, limit)
        except zlib.error:
            continue
    raise BadBodyError(f"the body is not valid {encoding} data")


def _inflate(body: bytes, window: int, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    for _ in range(_MAX_MEMBERS):
        if not body:
            return b"".join(parts)
        reader = zlib.decompressobj(window)
        # Asking for one byte over the limit tells a bomb from a body that just fits.
        parts.append(reader.decompress(body, limit + 1 - size))
        size += len(parts[-1])
        if size > limit:
            raise too_large(limit)
        if not reader.eof:
            raise zlib.error("the data ends early")
        # gzip files may be joined end to end.
        body = reader.unused_data
    raise BadBodyError(f"the body is joined from more than {_MAX_MEMBERS} pieces")


def too_large(limit: int) -> BadBodyError:
    """The refusal of a body over `limit` bytes."""
    return BadBodyError(f"the body is larger than {limit // 1024 / 1024:g} MiB", 413)


def parse_traces(body: bytes, content_type: str = PROTOBUF) -> ExportTraceServiceRequest:
    """Read an OTLP trace export request.

    Args:
        body: decompressed bytes.
        content_type: `PROTOBUF` or `JSON`.

    Raises:
        BadBodyError: the body is not such a request.
    """
    if content_type == JSON:
        return _parse_json(body)
    request = ExportTraceServiceRequest()
    try:
        request.ParseFromString(body)
        return request
    except DecodeError:
        raise BadBodyError("the body is not an OTLP trace request in protobuf") from None


def _parse_json(body: bytes) -> ExportTraceServiceRequest:
    try:
        tree = json.loads(body)
        _hex_to_base64(tree)
        request = ExportTraceServiceRequest()
        ParseDict(tree, request, ignore_unknown_fields=True)
        return request
    except (ValueError, RecursionError, ParseError, AttributeError, TypeError, SystemError) as error:
        # protobuf's own compiled code ends in the last where a name has half a surrogate pair in it.
        is_type = isinstance(error, AttributeError | TypeError | SystemError)
        # The parser's message may quote the whole body.
        reason = "a value is of another type" if is_type else " ".join(str(error).split())[:160]
        raise BadBodyError(f"the body is not an OTLP trace request in JSON: {reason}") from None


def _hex_to_base64(tree: dict[str, Any]) -> None:
    # OTLP/JSON departs from protobuf's JSON here: ids are hex, where protobuf expects base64.
    for group in tree.get("resourceSpans") or ():
        for scope in group.get("scopeSpans") or ():
            for span in scope.get("spans") or ():
                for item in (span, *(span.get("links") or ())):
                    for key in ("traceId", "spanId", "parentSpanId"):
                        if item.get(key):
                            item[key] = base64.b64encode(bytes.fromhex(item[key])).decode("ascii")
