"""The providers of metrics and of log records, made as the tracer provider is, by the standard variables.

Only beside a tracer provider that clew has made: who makes that one has made these, too, or wants none. The SDK's own
reader and processor send; what becomes of an export is looked at, and said in one line.
"""

from __future__ import annotations

import logging
import os
import threading
import time
import weakref
from collections.abc import Callable
from typing import Any

from opentelemetry import _logs, metrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from clew.engine import forks, isolation
from clew.engine.log import log
from clew.export.answers import Answer
from clew.export.exporters import made
from clew.export.losses import REASONS
from clew.export.outgoing import can_connect, renew_connections

_PERIOD_SECONDS = 60.0
_PROBE_SECONDS = 1.0
_UPSTREAMS = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.metric_exporter",
    "opentelemetry.exporter.otlp.proto.http._log_exporter",
    "opentelemetry.exporter.http.transport",
)
_senders: list[Sender] = []
_ends: list[Callable[..., Any]] = []
_beside: weakref.ref[TracerProvider] | None = None


class _Quiet(logging.Filter):
    """Leaves out what upstream says of an export of ours: several lines, and no mend."""

    thread = threading.local()

    def filter(self, record: logging.LogRecord) -> bool:
        return not getattr(self.thread, "is_on", False)


_QUIET = _Quiet()


class Sender:
    """Stands in the place of an exporter's `export`.

    Args:
        exporter: upstream's.
        answer: what its last export was answered; None: it cannot be looked at.
        signal: `metrics` or `logs`.
        failure: what it returns where nothing is sent.
    """

    def __init__(self, exporter: Any, answer: Answer | None, signal: str, failure: Any) -> None:
        self.is_on = True
        self._signal, self._failure, self._answer = signal, failure, answer
        self._endpoint = str(getattr(exporter, "_endpoint", "") or type(exporter).__name__)
        self._export, exporter.export = exporter.export, self
        self._is_refused, self._silent_until = False, 0.0
        _senders.append(self)

    def __call__(self, data: Any, *positional: Any, **keywords: Any) -> Any:
        """Export, unless the backend has said that it does not take this signal."""
        if not self.is_on or self._is_refused:
            return self._failure
        if self._answer is None:
            return self._export(data, *positional, **keywords)
        if not can_connect(self._endpoint, _PROBE_SECONDS):
            self._log("unreachable")
            return self._failure
        self._answer.reset()
        _Quiet.thread.is_on = True
        try:
            result = self._export(data, *positional, **keywords)
        finally:
            _Quiet.thread.is_on = False
        if result is self._failure or self._answer.reason == "redirected":
            self._log(self._answer.reason or "rejected")
        return result

    def _log(self, reason: str) -> None:
        if self._answer is not None and self._answer.is_unknown:
            self._is_refused = True
            why = f"{self._endpoint} takes none"
            mend = (
                f"set OTEL_{self._signal.upper()}_EXPORTER=none, or OTEL_EXPORTER_OTLP_{self._signal.upper()}_ENDPOINT"
            )
        elif time.monotonic() < self._silent_until:
            return
        else:
            why, mend = REASONS[reason]
            why = why.format(endpoint=self._endpoint)
        self._silent_until = time.monotonic() + _PERIOD_SECONDS
        log(logging.WARNING, "clew: %s were not sent: %s; %s", self._signal, why, mend)


def is_ours(provider: TracerProvider) -> bool:
    """Whether the providers here were made beside this one, in a time before `shutdown()`."""
    return _beside is not None and _beside() is provider


def install(provider: TracerProvider, *, is_automatic: bool) -> None:
    """Make the global providers that are asked for and that nobody has made; a second time, use those again.

    Args:
        provider: the tracer provider that clew has made.
        is_automatic: under `opentelemetry-instrument`, where metrics need not be asked for.
    """
    global _beside
    if is_ours(provider):
        for each in _senders:
            each.is_on = True
        return
    _beside, resource = weakref.ref(provider), provider.resource
    if not os.environ.get("OTEL_PYTHON_METER_PROVIDER") and _is_proxy(metrics.get_meter_provider()):
        _make_meter_provider(resource, "otlp" if is_automatic else "")
    if not os.environ.get("OTEL_PYTHON_LOGGER_PROVIDER") and _is_proxy(_logs.get_logger_provider()):
        _make_logger_provider(resource)
    for name in _UPSTREAMS if _senders else ():
        logging.getLogger(name).addFilter(_QUIET)


def close(seconds: float) -> None:
    """Send what there is, for the last time, within that time and by threads that are there."""
    until = time.monotonic() + seconds
    for end in _ends:
        try:
            end(timeout_millis=max(until - time.monotonic(), 0.01) * 1000)
        except Exception as error:  # noqa: BLE001 - the SDK raises what its exporters do
            isolation.report(error, "shutdown of metrics or logs")


def uninstall() -> None:
    """Send nothing any more; a global provider cannot be taken back."""
    for each in _senders:
        each.is_on = False


def _is_proxy(provider: Any) -> bool:
    return not type(provider).__module__.startswith("opentelemetry.sdk") and "Proxy" in type(provider).__name__


def _make_meter_provider(resource: Resource, default: str) -> None:
    found = list(made("metrics", default))
    if not found:
        return
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExportResult, MetricReader, PeriodicExportingMetricReader

    readers: list[MetricReader] = []
    with forks.without_signals():
        for exporter, answer in found:
            if isinstance(exporter, MetricReader):  # Prometheus is asked
                readers.append(exporter)
                continue
            Sender(exporter, answer, "metrics", MetricExportResult.FAILURE)
            readers.append(PeriodicExportingMetricReader(exporter))
        provider = MeterProvider(readers, resource, shutdown_on_exit=False)
    _ends.append(provider.shutdown)
    metrics.set_meter_provider(provider)


def _make_logger_provider(resource: Resource) -> None:
    found = list(made("logs", ""))
    if not found:
        return
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor, LogRecordExportResult

    provider = LoggerProvider(resource, shutdown_on_exit=False)
    with forks.without_signals():
        for exporter, answer in found:
            Sender(exporter, answer, "logs", LogRecordExportResult.FAILURE)
            processor = BatchLogRecordProcessor(exporter)
            _ends.append(processor._batch_processor.shutdown)
            provider.add_log_record_processor(processor)
            forks.renew(_renewal(exporter))
    _logs.set_logger_provider(provider)


def _renewal(exporter: Any) -> Any:
    of_parents: list[Any] = []
    return lambda: renew_connections(exporter, of_parents)
