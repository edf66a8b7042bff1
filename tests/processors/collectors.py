"""Collectors that answer as they are told, over real HTTP and real gRPC."""

from __future__ import annotations

import contextlib
import http.server
import socket
import threading
import zlib
from concurrent.futures import ThreadPoolExecutor

import grpc
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)


class Collector:
    """What was received, and how the next requests are answered.

    Attributes:
        endpoint: for `OTEL_EXPORTER_OTLP_ENDPOINT`.
        names: of the spans it has accepted.
        metrics, logs: the accepted requests of these, decoded; over HTTP only.
        bodies, paths: every accepted request over HTTP, as bytes, and with where it was sent.
        refused: the paths that are answered 404.
        sizes: how many spans, and bytes, each accepted request had.
        answer: an HTTP status (with its headers), or a gRPC status code's name; None: it accepts.
        gate: closed: requests wait.
    """

    def __init__(self):
        self.endpoint, self.names, self.sizes, self.headers = "", [], [], []
        self.metrics, self.logs, self.bodies, self.paths, self.refused = [], [], [], [], {}
        self.answer = None
        self.gate = threading.Event()
        self.gate.set()

    def take_from(self, path, body):
        self.bodies.append(body)
        self.paths.append((path, body))
        if path.endswith("/metrics"):
            self.metrics.append(ExportMetricsServiceRequest.FromString(body))
        elif path.endswith("/logs"):
            self.logs.append(ExportLogsServiceRequest.FromString(body))
        else:
            self.take(body)

    def take(self, body):
        request = ExportTraceServiceRequest.FromString(body)
        found = [span.name for group in request.resource_spans for scope in group.scope_spans for span in scope.spans]
        self.names += found
        self.sizes.append((len(found), len(body)))


@contextlib.contextmanager
def http_collector():
    collector = Collector()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            collector.gate.wait(60)
            status, headers = collector.answer or (200, {})
            collector.headers.append(dict(self.headers))
            if self.path in collector.refused:
                collector.refused[self.path] += 1
                status = 404
            if status == 200:
                is_zipped = self.headers.get("Content-Encoding") == "gzip"
                collector.take_from(self.path, zlib.decompress(body, 31) if is_zipped else body)
            with contextlib.suppress(OSError):
                self.send_response(status)
                for name, value in {"Content-Length": "0", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()

        def do_GET(self):
            self.send_response(200)  # where a redirection leads
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *args):
            pass

    class Server(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *args):
            pass  # a client that went away

    server = Server(("127.0.0.1", 0), Handler)
    collector.endpoint = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.02,))
    thread.start()
    try:
        yield collector
    finally:
        collector.gate.set()
        server.shutdown()
        server.server_close()
        thread.join()


@contextlib.contextmanager
def grpc_collector():
    collector = Collector()

    def export(body, context):
        collector.gate.wait(60)
        collector.headers.append(dict(context.invocation_metadata()))
        if collector.answer is not None:
            context.abort(getattr(grpc.StatusCode, collector.answer), "as it was told")
        collector.take(body)
        return ExportTraceServiceResponse().SerializeToString()

    server = grpc.server(ThreadPoolExecutor(4))
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    methods = {"Export": grpc.unary_unary_rpc_method_handler(export)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, methods),))
    collector.endpoint = f"http://127.0.0.1:{server.add_insecure_port('127.0.0.1:0')}"
    server.start()
    try:
        yield collector
    finally:
        collector.gate.set()
        server.stop(0).wait()


@contextlib.contextmanager
def refusing():
    """An address where nothing listens."""
    collector = Collector()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        collector.endpoint = f"http://127.0.0.1:{probe.getsockname()[1]}"
        yield collector


@contextlib.contextmanager
def hanging():
    """One that accepts connections and says nothing."""
    collector = Collector()
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(20)
        collector.endpoint = f"http://127.0.0.1:{server.getsockname()[1]}"
        yield collector


COLLECTORS = {"http": http_collector, "grpc": grpc_collector}
