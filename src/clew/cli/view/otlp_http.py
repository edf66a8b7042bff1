"""The OTLP/HTTP side of the receiver: `POST /v1/traces`, answered as the OTLP specification asks.

`/v1/metrics` and `/v1/logs` are answered too, without being used: an SDK that exports all three to one
endpoint should not fill the application's log with errors about the two that a trace viewer has no use for.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from google.protobuf.json_format import MessageToJson
from google.rpc.status_pb2 import Status
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse

from clew.cli.view.intake import Intake
from clew.cli.view.otlp_body import JSON, PROTOBUF, BadBodyError, decompress, parse_traces, too_large

# Of a length; Python refuses to read numbers of thousands.
_MAX_DIGITS = 20
_UNUSED = ("/v1/metrics", "/v1/logs")
# Each connection has a thread and may hold a body of the full limit.
_MOST_CONNECTIONS = 16
_PATIENCE_SECONDS = 0.2
_READ_SECONDS = 30
_DRAIN_SECONDS = 5
_CHUNK = 64 * 1024
_GRPC_CODES = {400: 3, 413: 8, 415: 3, 404: 12, 405: 12, 500: 13}


class OtlpHttpServer(ThreadingHTTPServer):
    """Listens for OTLP over HTTP.

    Args:
        address: host and port; port 0 takes a free one.
        intake: takes the spans and hears of problems.

    Raises:
        OSError: the address cannot be bound.
    """

    daemon_threads = True
    # A handler that hangs in a slow sender must not keep `clew view` from ending.
    block_on_close = False

    def __init__(self, address: tuple[str, int], intake: Intake) -> None:
        self.intake = intake
        self.address_family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._slots = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._served: dict[int, socket.socket] = {}
        super().__init__(address, _Handler)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection its thread; where all are busy, that of the sender which has been longest at it."""
        if self._slots.acquire(timeout=_PATIENCE_SECONDS) or (self._end_oldest() and self._slots.acquire(timeout=1)):
            self._served[id(request)] = request
            super().process_request(request, client_address)
            return
        try:
            request.sendall(b"HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n")
        finally:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Serve one connection and free its slot."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._served.pop(id(request), None)
            self._slots.release()

    def _end_oldest(self) -> bool:
        oldest = next(iter(self._served.copy().values()), None)
        if oldest is not None:
            with contextlib.suppress(OSError):
                oldest.shutdown(socket.SHUT_RD)
        return oldest is not None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Nothing: a sender that hangs up is no event, and errors of ours are answered in the handler."""


class _Handler(BaseHTTPRequestHandler):
    server: OtlpHttpServer
    protocol_version = "HTTP/1.1"
    server_version = "clew"
    timeout = 10
    raw_requestline: bytes

    def do_POST(self) -> None:
        try:
            self._export()
        except BadBodyError as refusal:
            self.server.intake.problem(f"refused a request to {self.path[:80]!r}: {refusal}")
            self._refuse(refusal.status, str(refusal))
        except OSError:
            # The sender has gone; there is nobody to answer.
            self.close_connection = True
        except Exception as error:  # noqa: BLE001 - a receiver outlives whatever one request brings
            self.server.intake.problem(f"could not take a request: {type(error).__name__}: {error}")
            self._refuse(500, "the receiver could not take these spans")

    def _refuse_method(self) -> None:
        status = 405 if self.path == "/v1/traces" or self.path in _UNUSED else 404
        self._refuse(status, "use POST" if status == 405 else "there is /v1/traces, /v1/metrics and /v1/logs")

    do_GET = do_HEAD = do_PUT = do_DELETE = do_PATCH = do_OPTIONS = _refuse_method  # noqa: N815

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Answer what is no HTTP request; the usual one is a gRPC exporter that was given this port."""
        if self.raw_requestline.startswith(b"PRI * HTTP/2"):
            self.server.intake.problem(f"a gRPC exporter talks to the HTTP port {self.server.server_port}")
        super().send_error(code, message, explain)

    def _export(self) -> None:
        if self.path != "/v1/traces" and self.path not in _UNUSED:
            raise BadBodyError("no such path; there is /v1/traces, /v1/metrics and /v1/logs", 404)
        kind = self._content_type()
        if kind not in (PROTOBUF, JSON):
            raise BadBodyError(f"content type {kind[:60]!r} is not {PROTOBUF} or {JSON}", 415)
        body = self._read()
        body = decompress(body, self.headers.get("Content-Encoding", ""), self.server.intake.limit)
        answer = ExportTraceServiceResponse()
        if self.path not in _UNUSED:
            answer = self.server.intake.take(parse_traces(body, kind))
        self._answer(200, kind, _as_json(answer) if kind == JSON else answer.SerializeToString())

    def _content_type(self) -> str:
        return self.headers.get("Content-Type", "").partition(";")[0].strip().lower()

    def _read(self) -> bytes:
        limit = self.server.intake.limit
        # Java's exporters do not know the length of what they compress.
        if "chunked" in self.headers.get("Transfer-Encoding", "").lower():
            return self._read_chunks(limit)
        length = self.headers.get("Content-Length", "0")
        if not length.isdecimal():
            raise BadBodyError("Content-Length is not a number")
        if len(length) > _MAX_DIGITS or int(length) > limit:
            raise too_large(limit)
        return self._read_exactly(int(length), time.monotonic() + _READ_SECONDS)

    def _read_chunks(self, limit: int) -> bytes:
        parts, size, until = [], 0, time.monotonic() + _READ_SECONDS
        while True:
            try:
                length = int(self.rfile.readline(1024).split(b";")[0], 16)
            except ValueError:
                raise BadBodyError("a chunk of the body has no valid length") from None
            size += length
            if length < 0 or size > limit:
                raise too_large(limit)
            parts.append(self._read_exactly(length, until))
            self.rfile.readline(1024)
            if not length:
                return b"".join(parts)

    def _read_exactly(self, length: int, until: float) -> bytes:
        parts = []
        while length:
            # `read` would wait for all of it, and a trickle of bytes would never meet the time limit.
            part = self.rfile.read1(min(length, _CHUNK))
            if not part:
                raise BadBodyError("the body ends early")
            if time.monotonic() > until:
                raise BadBodyError(f"the body took longer than {_READ_SECONDS} s", 408)
            parts.append(part)
            length -= len(part)
        return b"".join(parts)

    def _refuse(self, status: int, reason: str) -> None:
        # What JSON calls a character, half of a surrogate pair, is none to protobuf.
        reason = reason.encode(errors="replace").decode()
        said = Status(code=_GRPC_CODES.get(status, 2), message=reason)
        kind = self._content_type()
        if kind == PROTOBUF:
            self._answer(status, PROTOBUF, said.SerializeToString())
        elif kind == JSON:
            self._answer(status, JSON, _as_json(said))
        else:
            self._answer(status, "text/plain; charset=utf-8", f"{reason}\n".encode())
        self._drain()

    def _drain(self) -> None:
        # Closing with unread data resets the connection, and the sender would never read why it was refused.
        left, until = 2 * self.server.intake.limit, time.monotonic() + _DRAIN_SECONDS
        try:
            self.connection.shutdown(socket.SHUT_WR)
            self.connection.settimeout(1)
            while left > 0 and time.monotonic() < until and (part := self.rfile.read1(_CHUNK)):
                left -= len(part)
        except OSError:
            pass

    def _answer(self, status: int, content_type: str, body: bytes) -> None:
        # One request a connection: an exporter that keeps its connection idle would hold one of few threads.
        self.close_connection = True
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        self.send_header("Connection", "close")
        if status == 405:
            self.send_header("Allow", "POST")
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: an access log between the traces would hide them."""


def _as_json(message: Any) -> bytes:
    return str(MessageToJson(message, indent=None)).encode()
