"""Where the demo's spans go besides the terminal: a file in OTLP JSON, an endpoint of the user's.

The processes export to the demo alone. It hands on what it received by the official exporters, so the file is what
those write, and every `OTEL_EXPORTER_OTLP_*` variable (headers, certificates, compression) means what it always means.
"""

from __future__ import annotations

import importlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import Link, SpanContext, SpanKind, Status, StatusCode, TraceFlags

from clew.cli.demo.processes import DemoError
from clew.cli.view.span_record import SpanRecord

_ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_TIMEOUTS = ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
_PATIENCE = 3.0
_MOST_WAITING = 1000


def endpoint() -> str:
    """Where the user wants spans; "" if nowhere."""
    return _first(_ENDPOINTS)


def _first(names: Iterable[str]) -> str:
    return next((value for value in (os.environ.get(name, "").strip() for name in names) if value), "")


def to_readable(record: SpanRecord) -> ReadableSpan:
    """A received span as exporters want it."""
    # The SDK warns of a description on anything but an error, so only those get theirs.
    status = StatusCode[record.status]
    return ReadableSpan(
        record.name,
        context=_context(record.trace_id, record.span_id),
        parent=_context(record.trace_id, record.parent_span_id) if record.parent_span_id else None,
        resource=Resource(record.resource),
        attributes=record.attributes,
        events=[Event(name, attributes, at) for name, at, attributes in record.events],
        links=[Link(_context(trace, span), attributes) for trace, span, attributes in record.links],
        kind=SpanKind[record.kind],
        status=Status(status, record.status_message if status is StatusCode.ERROR else None),
        start_time=record.start_ns,
        end_time=record.end_ns,
        instrumentation_scope=InstrumentationScope(record.scope),
    )


def _context(trace_id: str, span_id: str) -> SpanContext:
    return SpanContext(int(trace_id, 16), int(span_id, 16), False, TraceFlags(TraceFlags.SAMPLED))


class Outlet:
    """Exports in a thread of its own, so that no slow collector holds up the demo.

    Args:
        exporter: an SDK exporter.
        on_failure: called once, when the first export fails.
    """

    def __init__(self, exporter: SpanExporter, on_failure: Callable[[], None]) -> None:
        self._exporter, self._on_failure = exporter, on_failure
        self._waiting: queue.Queue[list[ReadableSpan] | None] = queue.Queue(_MOST_WAITING)
        # Daemonic: waiting for a collector must not keep the demo from ending.
        self._thread = threading.Thread(target=self._run, name="clew-demo-outlet", daemon=True)
        self._thread.start()
        self.sent = 0

    def add(self, spans: list[ReadableSpan]) -> None:
        """Queue spans; the newest are dropped when the queue is full."""
        try:
            self._waiting.put_nowait(spans)
        except queue.Full:
            pass

    def close(self, seconds: float = _PATIENCE + 1) -> None:
        """Send what is queued, as far as that goes in this time."""
        try:
            self._waiting.put(None, timeout=seconds)
        except queue.Full:
            return
        self._thread.join(seconds)

    def _run(self) -> None:
        failed = False
        while (spans := self._waiting.get()) is not None:
            if failed and not self._waiting.empty():
                # A collector that is down costs one attempt for all that waits, not one for each batch.
                continue
            if self._export(spans):
                self.sent += len(spans)
            elif not failed:
                failed = True
                self._on_failure()
        try:
            self._exporter.shutdown()
        except OSError:
            # A file is written when it is closed.
            self.sent = 0
            if not failed:
                self._on_failure()

    def _export(self, spans: Sequence[ReadableSpan]) -> bool:
        try:
            return self._exporter.export(spans) is SpanExportResult.SUCCESS
        except Exception:  # noqa: BLE001 - an exporter's own trouble is the same to us as its refusal
            return False


def open_outlets(file: str | None, say: Callable[[str], None]) -> list[Outlet]:
    """The outlets that were asked for.

    Args:
        file: to write OTLP JSON lines to.
        say: gets a line when an export fails.

    Raises:
        DemoError: the file or the exporter cannot be used.
    """
    outlets = []
    if file is not None:
        outlets.append(Outlet(_file_exporter(file), lambda: say(f"{file} could not be written")))
    if target := endpoint():
        failure = f"no spans could be sent on to {target} (OTEL_EXPORTER_OTLP_ENDPOINT): nothing takes them there"
        outlets.append(Outlet(_otlp_exporter(), lambda: say(failure)))
    return outlets


def _file_exporter(path: str) -> Any:
    try:
        from opentelemetry.exporter.otlp.json.file import FileSpanExporter
    except ModuleNotFoundError:
        raise DemoError("--export-file needs the official JSON file exporter: pip install 'clew[demo]'") from None
    try:
        return FileSpanExporter(path)
    except OSError as error:
        raise DemoError(f"cannot write {path}: {(error.strerror or str(error)).lower()}") from None


def _otlp_exporter() -> SpanExporter:
    # It is said once, in a line of ours.
    logging.getLogger("opentelemetry.exporter").setLevel(logging.CRITICAL)
    timeout = None if _first(_TIMEOUTS) else _PATIENCE
    protocol = _first(_PROTOCOLS) or "grpc"
    package = {"grpc": "grpc", "http/protobuf": "http"}.get(protocol)
    if package is None:
        raise DemoError(f"OTEL_EXPORTER_OTLP_PROTOCOL={protocol!r} is not grpc or http/protobuf")
    module: Any = importlib.import_module(f"opentelemetry.exporter.otlp.proto.{package}.trace_exporter")
    try:
        exporter: SpanExporter = module.OTLPSpanExporter(timeout=timeout)
        return exporter
    except (ValueError, OSError) as error:
        raise DemoError(f"the OTEL_EXPORTER_OTLP_* variables make no exporter: {error}") from None
