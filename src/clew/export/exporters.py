"""The exporters that `OTEL_TRACES_EXPORTER` (`_METRICS_`, `_LOGS_`) and `OTEL_EXPORTER_OTLP_PROTOCOL` name, made as the
SDK would make them.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from importlib.metadata import entry_points
from typing import Any

from clew.engine import green, isolation
from clew.export.answers import Answer, watched_grpc, watched_http
from clew.export.outgoing import Outgoing

_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_OTLP = "opentelemetry.exporter.otlp.proto"


def exporters() -> Iterator[Outgoing]:
    """Each exporter of spans that is asked for."""
    for exporter, answer in made("traces", "otlp"):
        yield Outgoing(exporter, answer)


def made(signal: str, default: str) -> Iterator[tuple[Any, Answer | None]]:
    """Each exporter that is asked for, and its answers; one that cannot be made is said, and left out.

    Args:
        signal: `traces`, `metrics` or `logs`.
        default: the exporter if none is named.
    """
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    for name in (each.strip() for each in (os.environ.get(variable) or default).split(",")):
        if name.lower() in ("", "none"):
            continue
        try:
            yield _watched(load(f"opentelemetry_{signal}_exporter", protocol_of(name, signal)))
        except Exception as error:  # noqa: BLE001 - an exporter that cannot be made must not stop the application
            what = "spans" if signal == "traces" else signal
            isolation.warn(
                f"clew: the exporter {name!r} ({variable}) could not be made: {error}; its {what} are not sent"
            )


def _watched(kind: Any) -> tuple[Any, Answer | None]:
    module = getattr(kind, "__module__", "")
    if module.startswith(f"{_OTLP}.http."):
        return watched_http(kind)
    if module.startswith(f"{_OTLP}.grpc.") and isinstance(kind, type):
        return watched_grpc(kind)
    return kind(), None


def protocol_of(name: str, signal: str = "traces") -> str:
    """The entry point of the exporter `name` of a signal: of `otlp`, that of its protocol.

    Raises:
        ValueError: OTEL_EXPORTER_OTLP_PROTOCOL is none that there is.
    """
    if name != "otlp":
        return name
    of_signal = f"OTEL_EXPORTER_OTLP_{signal.upper()}_PROTOCOL"
    protocol = os.environ.get(of_signal) or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    chosen = (protocol or "").strip() or _default_protocol(signal)
    if signal == "traces" and chosen == "grpc" and (library := green.patched_by()):
        isolation.warn(
            f"clew: exports over gRPC stop every greenlet of {library} until the collector answers; set "
            "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf (and the collector's HTTP port, 4318, in the endpoint)"
        )
    if chosen not in _PROTOCOLS:
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL={chosen!r} is not one of {', '.join(_PROTOCOLS)}")
    return _PROTOCOLS[chosen]


def _default_protocol(signal: str) -> str:
    """gRPC; among greenlets HTTP, unless an endpoint is set, which then is one for gRPC."""
    is_endpoint_set = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("", f"{signal.upper()}_"))
    return "http/protobuf" if green.patched_by() and not is_endpoint_set else "grpc"


def load(group: str, name: str) -> Any:
    """What an entry point names.

    Raises:
        LookupError: no installed package has it.
    """
    for entry in entry_points(group=group, name=name):
        return entry.load()
    raise LookupError(f"no installed package provides it (entry point {group}, name {name})")
