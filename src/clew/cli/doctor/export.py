"""`clew doctor`: whether the backend takes what the exporter sends, found out by sending it an empty export.

Upstream's exporters make the request, so that endpoint, headers, certificates and compression are read as the
application's are; nothing appears in the backend.
"""

from __future__ import annotations

import os
import socket
import ssl
from importlib import import_module
from importlib.metadata import entry_points
from typing import Any
from urllib.parse import urlsplit

from clew.cli.doctor.check import OK, PROBLEM, WARNING, Check, within
from clew.cli.doctor.export_answer import GRPC, HTTP, Answer, explained
from clew.cli.reason import reason
from clew.engine import needs
from clew.export.exporters import protocol_of

# What a client of HTTP/2 says first, with an empty SETTINGS frame: any server that speaks it must answer.
_PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes([0, 0, 0, 4, 0, 0, 0, 0, 0])
_DEFAULTS = {GRPC: "http://localhost:4317", HTTP: "http://localhost:4318"}
_EXPORTERS = {"otlp_proto_grpc": GRPC, "otlp_proto_http": HTTP}

needs.declare(
    __name__,
    *needs.attributes(
        "opentelemetry.exporter.otlp.proto.grpc.trace_exporter", "OTLPSpanExporter", "_client", "_headers"
    ),
    *needs.functions("opentelemetry.exporter.otlp.proto.grpc.trace_exporter", "ExportTraceServiceRequest"),
    consequence="`clew doctor` does not ask the collector by gRPC",
)


def check(timeout: float) -> list[Check]:
    """A line for each exporter of OTEL_TRACES_EXPORTER."""
    names = [each.strip() for each in (os.environ.get("OTEL_TRACES_EXPORTER") or "otlp").split(",")]
    wanted = [name for name in names if name and name.lower() != "none"]
    if not wanted:
        return [Check("exporter", PROBLEM, "OTEL_TRACES_EXPORTER=none: no span is sent", "OTEL_TRACES_EXPORTER=otlp")]
    return [_check_one(name, timeout) for name in wanted]


def _check_one(name: str, timeout: float) -> Check:
    try:
        exporter = protocol_of(name)
    except ValueError as error:
        return Check("exporter", PROBLEM, str(error), "OTEL_EXPORTER_OTLP_PROTOCOL=grpc or http/protobuf")
    protocol = _EXPORTERS.get(exporter)
    if protocol is None:
        return _other(name)
    where = endpoint(protocol)
    if protocol == HTTP and "://" not in where:
        return explained(protocol, where, Answer())
    try:
        # The rest of the time is for finding out why there was no answer.
        answer = within(timeout, lambda: ask(protocol, where, timeout * 0.6))
    except TimeoutError as error:
        answer = Answer(error=str(error))
    except Exception as error:  # noqa: BLE001 - an exporter may refuse its configuration in any way
        answer = Answer(error=reason(error))
    return explained(protocol, where, answer)


def _other(name: str) -> Check:
    if name == "console":
        return Check("exporter", WARNING, "OTEL_TRACES_EXPORTER=console: spans only reach the output", "name otlp")
    if entry_points(group="opentelemetry_traces_exporter", name=name):
        return Check("exporter", OK, f"exporter {name!r} is installed; it was not tried")
    text = f"OTEL_TRACES_EXPORTER={name}: no installed package provides it"
    return Check("exporter", PROBLEM, text, "install that, or OTEL_TRACES_EXPORTER=otlp")


def endpoint(protocol: str) -> str:
    """Where the exporter sends to, from the environment."""
    own = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
    shared = os.environ.get("OTEL_EXPORTER_OTLP_ENDPOINT") or _DEFAULTS[protocol]
    if protocol == GRPC or own:
        return own or shared
    return shared.rstrip("/") + "/v1/traces"


def ask(protocol: str, where: str, timeout: float) -> Answer:
    """Send an empty export; where that gets no answer, find out why."""
    answer = _ask_grpc(timeout) if protocol == GRPC else _ask_http(timeout)
    if answer.status:
        return answer
    parts = urlsplit(where if "//" in where else f"//{where}")
    address = (parts.hostname or "localhost", parts.port or (443 if parts.scheme == "https" else 80))
    try:
        with socket.create_connection(address, timeout / 3) as connection:
            spoken = speaks(connection)
    except socket.gaierror:
        return Answer(error=answer.error, network="no such host")
    except TimeoutError:
        return Answer(error=answer.error, network="timeout")
    except OSError:
        return Answer(error=answer.error, network="refused")
    return Answer(error=answer.error, spoken=spoken)


def speaks(connection: socket.socket) -> str:
    """`grpc` (HTTP/2), `http/protobuf` (HTTP/1) or empty: what a plain-text port answers to HTTP/2's greeting."""
    try:
        connection.sendall(_PREFACE)
        head = connection.recv(16)
    except OSError:
        return ""
    # Python's own HTTP server answers an unknown version with a page alone.
    if head.startswith((b"HTTP/1", b"<")):
        return HTTP
    return GRPC if len(head) >= 9 and head[3] in (4, 7) else ""


def _ask_grpc(timeout: float) -> Answer:
    grpc = import_module("grpc")
    exporters = import_module("opentelemetry.exporter.otlp.proto.grpc.trace_exporter")
    exporter = exporters.OTLPSpanExporter(timeout=timeout)
    request = exporters.ExportTraceServiceRequest()
    try:
        # Not `export()`: it retries, and says only whether it worked.
        exporter._client.Export(request=request, metadata=exporter._headers, timeout=timeout)
    except grpc.RpcError as error:
        code, details = error.code().name, error.details() or ""
        # gRPC's own words for "there was no answer"; other codes are the backend's.
        if code in ("UNAVAILABLE", "DEADLINE_EXCEEDED", "UNKNOWN", "INTERNAL"):
            return Answer(error=f"{code}: {' '.join(details.split())}")
        return Answer(status=code)
    finally:
        exporter.shutdown()
    return Answer(status="OK")


def _ask_http(timeout: float) -> Answer:
    requests: Any = import_module("requests")
    exporters = import_module("opentelemetry.exporter.otlp.proto.http.trace_exporter")
    answers: list[Answer] = []

    class Session(requests.Session):  # type: ignore[misc]
        """Notes what was answered, and tells the exporter that all is well: it must not retry."""

        def send(self, request: Any, **kwargs: Any) -> Any:
            accepted = requests.Response()
            accepted.status_code = 200
            try:
                answers.append(Answer(status=str(super().send(request, **kwargs).status_code)))
            except (requests.RequestException, ssl.SSLError, ValueError) as error:
                answers.append(Answer(error=reason(error)))
            return accepted

    exporter = exporters.OTLPSpanExporter(timeout=timeout, session=Session())
    exporter.export([])
    exporter.shutdown()
    return answers[0] if answers else Answer(error="no request was made: the endpoint is not a URL")
