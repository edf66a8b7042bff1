"""Receives OTLP traces, as a collector would: gRPC on 4317, HTTP on 4318, from any SDK in any language.

`clew view`, `clew demo` and the tests point a real exporter at it, so what a person sees went the whole way:
SDK, exporter, network. It only listens on this machine unless told otherwise, and nothing that is sent to it
can stop it.
"""

from __future__ import annotations

import errno
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceResponse
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceResponse

from clew.cli.terminal import say
from clew.cli.view.intake import Intake, OnSpans
from clew.cli.view.otlp_body import MAX_BODY, BadBodyError, parse_traces
from clew.cli.view.otlp_http import OtlpHttpServer
from clew.cli.view.span_record import SpanRecord

_SERVICE = "opentelemetry.proto.collector.{0}.v1.{1}Service"


class ReceiverError(Exception):
    """The receiver cannot listen; the message is one line that says where and how to choose another place."""


class Receiver:
    """An OTLP receiver; use it as a context manager, or `start()` and `stop()` it.

    Args:
        on_spans: called with the spans of each request, from threads of the receiver, never twice at once.
        host: address to listen on; the default is reachable from this machine only.
        grpc_port: 0 takes a free port, None listens on none.
        http_port: 0 takes a free port, None listens on none.
        on_problem: called with one line when a request is refused; the default writes it to stderr.
        max_body: bytes a request may have, before and after decompression.
    """

    def __init__(
        self,
        on_spans: OnSpans,
        *,
        host: str = "127.0.0.1",
        grpc_port: int | None = 4317,
        http_port: int | None = 4318,
        on_problem: Callable[[str], None] | None = None,
        max_body: int = MAX_BODY,
    ) -> None:
        self.host, self.grpc_port, self.http_port = host, grpc_port, http_port
        self._intake = Intake(on_spans, on_problem or _to_stderr, max_body)
        self._grpc: Any = None
        self._http: OtlpHttpServer | None = None

    def start(self) -> None:
        """Listen; afterwards `grpc_port` and `http_port` are the real ports.

        Raises:
            ReceiverError: a port is taken or the host is not of this machine; nothing listens then.
        """
        try:
            if self.grpc_port is not None:
                self._start_grpc(self.grpc_port)
            if self.http_port is not None:
                self._start_http(self.http_port)
        except ReceiverError:
            self.stop()
            raise

    def stop(self, grace: float = 0.5) -> None:
        """Stop listening; may be called twice.

        Args:
            grace: seconds that running gRPC calls get to finish.
        """
        if self._http is not None:
            self._http.shutdown()
            self._http.server_close()
            self._http = None
        if self._grpc is not None:
            # One second more than it was given: `wait` without a limit could hold up Ctrl-C for ever.
            self._grpc.stop(grace).wait(grace + 1)
            self._grpc = None

    @property
    def grpc_endpoint(self) -> str:
        """What `OTEL_EXPORTER_OTLP_ENDPOINT` should be for `OTEL_EXPORTER_OTLP_PROTOCOL=grpc`."""
        return f"http://{_reachable(self.host)}:{self.grpc_port}"

    @property
    def http_endpoint(self) -> str:
        """What `OTEL_EXPORTER_OTLP_ENDPOINT` should be for `OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf`."""
        return f"http://{_reachable(self.host)}:{self.http_port}"

    def __enter__(self) -> Receiver:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def _start_grpc(self, port: int) -> None:
        _probe(self.host, port, "gRPC")
        # By default gRPC lets two servers share a port, and a second `clew view` would get half of the traces.
        options = [("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", self._intake.limit)]
        server = grpc.server(
            ThreadPoolExecutor(4, "clew-otlp-grpc"),
            handlers=_grpc_handlers(self._intake),
            options=options,
            maximum_concurrent_rpcs=64,
        )
        address = f"[{self.host}]" if ":" in self.host else self.host
        try:
            self.grpc_port = server.add_insecure_port(f"{address}:{port}")
        except RuntimeError:
            raise _cannot_listen(self.host, port, "gRPC", OSError(errno.EADDRINUSE, "")) from None
        server.start()
        self._grpc = server

    def _start_http(self, port: int) -> None:
        _probe(self.host, port, "HTTP")
        try:
            self._http = OtlpHttpServer((self.host, port), self._intake)
        except OSError as error:
            raise _cannot_listen(self.host, port, "HTTP", error) from None
        self.http_port = int(self._http.server_address[1])
        threading.Thread(target=self._http.serve_forever, args=(0.1,), name="clew-otlp-http", daemon=True).start()


def _grpc_handlers(intake: Intake) -> list[Any]:
    # Bodies arrive as bytes: a deserializer that fails would be answered by gRPC as our internal error.
    def export_traces(body: bytes, context: Any) -> bytes:
        try:
            return bytes(intake.take(parse_traces(body)).SerializeToString())
        except BadBodyError as refusal:
            intake.problem(f"refused a gRPC request: {refusal}")
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(refusal))
        except Exception as error:  # noqa: BLE001 - a receiver outlives whatever one request brings
            intake.problem(f"could not take a gRPC request: {type(error).__name__}: {error}")
            context.abort(grpc.StatusCode.INTERNAL, "the receiver could not take these spans")
        raise AssertionError("abort raises")

    calls = {
        "Trace": export_traces,
        "Metrics": lambda body, context: ExportMetricsServiceResponse().SerializeToString(),
        "Logs": lambda body, context: ExportLogsServiceResponse().SerializeToString(),
    }
    return [
        grpc.method_handlers_generic_handler(
            _SERVICE.format(kind.lower(), kind), {"Export": grpc.unary_unary_rpc_method_handler(call)}
        )
        for kind, call in calls.items()
    ]


def _probe(host: str, port: int, protocol: str) -> None:
    # gRPC reports a taken port without its cause and logs lines of its own; a plain socket says why.
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(address)
    except OSError as error:
        raise _cannot_listen(host, port, protocol, error) from None


def _cannot_listen(host: str, port: int, protocol: str, error: OSError) -> ReceiverError:
    where, option = f"{host} port {port} (OTLP/{protocol})", f"--{protocol.lower()}-port"
    if error.errno == errno.EADDRINUSE:
        reason = "the port is taken, perhaps by a Jaeger or a collector"
        return ReceiverError(f"cannot listen on {where}: {reason}; choose another with {option}, 0 for a free one")
    reason = (error.strerror or str(error)).lower()
    advice = f"choose a port over 1023 with {option}" if error.errno == errno.EACCES else "choose another --host"
    return ReceiverError(f"cannot listen on {where}: {reason}; {advice}")


def _reachable(host: str) -> str:
    if host in ("0.0.0.0", "::"):
        return "127.0.0.1"
    return f"[{host}]" if ":" in host else host


def _to_stderr(line: str) -> None:
    say(f"clew: {line}")


__all__ = ["OnSpans", "Receiver", "ReceiverError", "SpanRecord"]
