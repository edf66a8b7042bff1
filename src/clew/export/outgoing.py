"""What a batch is sent through: an exporter of upstream's, given bytes where it speaks OTLP, spans where it does not.

Upstream's exporters say of an export that it failed, not why, and take a redirection for a success. So the answer is
looked at where requests and gRPC give it; where that cannot be done, the reason is the general one.
"""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from opentelemetry.instrumentation.utils import suppress_instrumentation
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from clew.engine import forks, isolation
from clew.export import encoding
from clew.export.answers import Answer
from clew.export.light_encoding import encode_light
from clew.spans.light_span import LightSpan

_DEFAULT_PORTS = {"http": 80}
# What one span of an exporter that is given objects is taken for.
_OBJECT_BYTES = 1024


class Outgoing:
    """An exporter, as `processors.deliver` uses it.

    Args:
        exporter: upstream's, or anybody's.
        answer: what its last export was answered; None: it cannot be looked at.
    """

    def __init__(self, exporter: SpanExporter, answer: Answer | None = None) -> None:
        self.exporter = exporter
        self.endpoint = str(getattr(exporter, "_endpoint", "") or type(exporter).__name__)
        self._answer = answer
        self._takes_bytes = encoding.takes_bytes(exporter)
        # Destroying the parent's channel in a child would say goodbye on a connection that the parent still uses.
        self._of_parents: list[Any] = []
        forks.renew(self._renew)

    def encode(self, span: ReadableSpan) -> tuple[Any, int] | None:
        """What waits for the export, and its size; None: OTLP cannot carry it."""
        if not self._takes_bytes:
            return span, _OBJECT_BYTES
        item = encoding.encode(span)
        return None if item is None else (item, len(item[2]))

    def encode_light(self, span: LightSpan) -> tuple[Any, int] | None:
        """As `encode`, of a light span."""
        if not self._takes_bytes:
            return span.readable(), _OBJECT_BYTES
        item = encode_light(span)
        return None if item is None else (item, len(item[2]))

    def send(self, items: Sequence[Any]) -> str:
        """Send a batch; returns why it did not arrive, "" if it did."""
        answer = self._answer
        if answer is not None:
            answer.reset()
        batch: Any = encoding.Batch(items) if self._takes_bytes else items
        # An instrumentation of its HTTP client would make a span of each export, and that one would be exported.
        with suppress_instrumentation():
            try:
                result = self.exporter.export(batch)
            except Exception:
                # Of a kind that its exporter does not expect (< 1.44, below a site that forbids connections).
                if answer is None or not answer.reason:
                    raise
                result = SpanExportResult.FAILURE
        reason = answer.reason if answer is not None else ""
        if result is not SpanExportResult.FAILURE:
            return reason if reason == "redirected" else ""
        if reason == "timeout" and not self.is_reachable(1.0):
            return "unreachable"  # gRPC waits for a connection until its time is over
        return reason or "rejected"

    def is_reachable(self, timeout: float) -> bool:
        """Whether something accepts connections at the endpoint; may take that many seconds."""
        return can_connect(self.endpoint, timeout)

    def shutdown(self) -> None:
        """Close connections; a retry that waits is given up."""
        try:
            self.exporter.shutdown()
        except Exception as error:  # noqa: BLE001 - an exporter's own trouble
            isolation.report(error, f"shutdown of {type(self.exporter).__name__}")

    def _renew(self) -> None:
        """In a forked child: connections of its own."""
        renew_connections(self.exporter, self._of_parents)


def renew_connections(exporter: Any, of_parents: list[Any]) -> None:
    """Give an OTLP exporter new connections, in a forked child.

    Args:
        exporter: upstream's; one that keeps its connections elsewhere is left alone.
        of_parents: holds what must not be destroyed in this process.
    """
    connect = getattr(exporter, "_initialize_channel_and_stub", None)
    if connect is not None:
        of_parents.append(getattr(exporter, "_channel", None))
        connect()
        at_once = getattr(getattr(exporter, "_client", None), "connect", None)
        if at_once is not None:
            at_once()
    client = getattr(exporter, "_client", None)
    for holder in (exporter, client, getattr(client, "_transport", None)):
        session = getattr(holder, "_session", None)
        for adapter in getattr(session, "adapters", {}).values():
            adapter.init_poolmanager(adapter._pool_connections, adapter._pool_maxsize, block=adapter._pool_block)


def can_connect(endpoint: str, timeout: float) -> bool:
    """Whether something accepts connections there; True where that cannot be told (a proxy, a socket file).

    Args:
        endpoint: an exporter's.
        timeout: seconds.
    """
    address = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    if not address.hostname or address.scheme not in ("", "http", "https") or getproxies():
        return True
    try:
        port = address.port or _DEFAULT_PORTS.get(address.scheme, 443)
        socket.create_connection((address.hostname, port), max(timeout, 0.01)).close()
    except (OSError, ValueError):
        return False
    return True
