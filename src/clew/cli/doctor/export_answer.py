"""`clew doctor`: what an answer of the backend means, and what to do about it."""

from __future__ import annotations

import os
from dataclasses import dataclass

from clew.cli.doctor.check import OK, PROBLEM, WARNING, Check

GRPC, HTTP = "grpc", "http/protobuf"
_ENDPOINT, _PROTOCOL = "OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_PROTOCOL"
_TRACES_ENDPOINT = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"
_DENIED = ("401", "403", "UNAUTHENTICATED", "PERMISSION_DENIED")
_BUSY = ("429", "502", "503", "504", "RESOURCE_EXHAUSTED")
_NOT_THERE = ("404", "405", "UNIMPLEMENTED")
_LATE = ("DEADLINE", "no answer within", "timed out")
_OTHER_PORT = {GRPC: "4317", HTTP: "4318"}


@dataclass(frozen=True)
class Answer:
    """What came of an export.

    Args:
        status: HTTP's or gRPC's, if there was an answer.
        error: what went wrong, if there was none.
        network: `refused`, `timeout` or `no such host`, if not even a connection was made.
        spoken: the protocol that the port speaks, if that could be found out.
    """

    status: str = ""
    error: str = ""
    network: str = ""
    spoken: str = ""


def explained(protocol: str, where: str, answer: Answer) -> Check:
    """The line for an answer.

    Args:
        protocol: the one that was spoken to it.
        where: the endpoint.
        answer: what came of it.
    """
    target = f"{where} ({protocol})"
    if answer.status == "OK" or answer.status.startswith("2"):
        return Check("exporter", OK, f"{target} takes spans")
    level = WARNING if answer.status in _BUSY else PROBLEM
    if answer.status:
        return Check("exporter", level, f"{target} answers {answer.status}", _mend_status(protocol, answer.status))
    text, fix = _silence(protocol, where, answer)
    return Check("exporter", PROBLEM, f"{target} {text}", fix)


def _mend_status(protocol: str, status: str) -> str:
    if status in _DENIED:
        return "it wants other credentials: OTEL_EXPORTER_OTLP_HEADERS=NAME=VALUE, as your backend's manual says"
    if status in _BUSY:
        return "it is there but takes no spans now; see its log"
    if status in _NOT_THERE:
        return _mend_path(protocol)
    if status == "415":
        return f"it does not take protobuf over HTTP; {_PROTOCOL}=grpc with its gRPC port (often 4317)"
    if status.startswith("3"):
        return "it redirects, which exporters do not follow: give the final address"
    return "see the backend's log"


def _mend_path(protocol: str) -> str:
    own = os.environ.get(_TRACES_ENDPOINT)
    if protocol == GRPC:
        return f"there is no OTLP on that port: OTLP/gRPC is often 4317, or {_PROTOCOL}={HTTP}"
    if own and "/v1/traces" not in own:
        return f"{_TRACES_ENDPOINT} is used as it is: end it with /v1/traces"
    if not own and os.environ.get(_ENDPOINT, "").rstrip("/").endswith("/v1/traces"):
        return f"/v1/traces is added to {_ENDPOINT}: leave it out there"
    return "there is no OTLP at that path: OTLP/HTTP is often port 4318"


def _silence(protocol: str, where: str, answer: Answer) -> tuple[str, str]:
    """What is wrong where nothing answered, and the fix."""
    if "://" not in where:
        return "is an address without http:// or https://", f"write http://{where}"
    if answer.network == "refused":
        return "refuses connections", f"start a collector there (or `clew view`), or correct {_ENDPOINT}"
    if answer.network == "no such host":
        return "has a host name that is not known here", f"correct {_ENDPOINT}"
    if answer.spoken and where.startswith("https"):
        return "speaks plain text, not TLS", f"http:// instead of https:// in {_ENDPOINT}"
    if answer.spoken and answer.spoken != protocol:
        fix = f"{_PROTOCOL}={answer.spoken}, or the port for {protocol} (often {_OTHER_PORT[protocol]})"
        return f"speaks {answer.spoken}: the wrong protocol for this port", fix
    if "CERTIFICATE_VERIFY_FAILED" in answer.error or "certificate verify failed" in answer.error:
        return "has a certificate that is not trusted here", "OTEL_EXPORTER_OTLP_CERTIFICATE=/path/of/its/ca.pem"
    if answer.network == "timeout" or any(sign in answer.error for sign in _LATE):
        return "does not answer in time", "a firewall, a proxy or a wrong address; --timeout waits longer"
    return f"cannot be used: {answer.error}", f"correct {_ENDPOINT} and {_PROTOCOL}"
