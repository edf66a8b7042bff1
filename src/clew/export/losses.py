"""Spans that do not arrive are counted and said: the SDK drops them with a log line about something else, or with none.

We stand at the OTLP exporters' `export`, whose result the SDK's batch processor does not look at, and at the event
they sleep on between two tries: a process that leaves (`core/flush.py`) waits only shortly for a collector that cannot
be reached.
"""

from __future__ import annotations

import socket
import threading
import time
from typing import Any
from urllib.parse import urlsplit
from urllib.request import getproxies

from opentelemetry import metrics
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SpanExportResult

from clew import attributes as names
from clew.core import flush
from clew.engine import isolation
from clew.engine.seam import Patch, Seam, like
from clew.export import loss_report
from clew.version import VERSION

_POLL_SECONDS = 0.1
_MAX_WATCHED = 64
_DEFAULT_PORTS = {"http": 80}


class BackOff(threading.Event):
    """The event an exporter sleeps on between two tries: ended when the process leaves before the next one."""

    def __init__(self, before: threading.Event) -> None:
        super().__init__()
        self.has_slept = False
        if before.is_set():
            self.set()

    def wait(self, timeout: float | None = None) -> bool:
        """Sleep; True tells the exporter not to try again."""
        self.has_slept |= not self.is_set()
        until = time.monotonic() + (1e9 if timeout is None else timeout)
        while not self.is_set():
            left, given_up = until - time.monotonic(), flush.State.until_reached
            if given_up is not None and until > given_up:
                return True
            if left <= 0:
                return False
            super().wait(min(left, _POLL_SECONDS))
        return True


class UnderWay:
    """An export that has not returned."""

    def __init__(self, exporter: Any, count: int) -> None:
        self.exporter, self.count = exporter, count
        self.back_off = _back_off(exporter)
        self.started = time.monotonic()
        if self.back_off is not None:
            self.back_off.has_slept = False

    def reason(self) -> str:
        """Why its spans do not arrive, for `error.type`."""
        if self.back_off is not None and self.back_off.has_slept:
            return "unreachable"
        exporter = self.exporter
        if getattr(exporter, "_shutdown", False):
            return "unreachable" if flush.State.has_no_connection else "timeout"
        limit = getattr(exporter, "_timeout", None) or getattr(getattr(exporter, "_client", None), "_timeout", None)
        return "timeout" if limit and time.monotonic() - self.started >= 0.9 * limit else "rejected"


class State:
    """What is being sent now, by this process."""

    under_way: dict[int, UnderWay] = {}
    watched: list[Any] = []
    counter: Any = None


def forget() -> None:
    """In a forked child: what its parent is sending is the parent's."""
    State.under_way = {}
    loss_report.forget()


def is_sending(exporter: Any) -> bool:
    """Whether an export of it has not returned."""
    return id(exporter) in State.under_way


def _back_off(exporter: Any) -> BackOff | None:
    """The exporter's event, ours in its place; None where it has none."""
    for owner, name in ((exporter, "_shutdown_in_progress"), (getattr(exporter, "_client", None), "_shutdown_event")):
        event = getattr(owner, name, None)
        if isinstance(event, BackOff):
            return event
        if isinstance(event, threading.Event) and len(State.watched) < _MAX_WATCHED:
            LOSSES.patch_attribute(owner, name, BackOff)
            State.watched.append(owner)
            return getattr(owner, name) if isinstance(getattr(owner, name), BackOff) else None
    return None


def _watching(counts: bool) -> Any:
    def wrap(original: Any) -> Any:
        def export(self: Any, batch: Any, *args: Any, **kwargs: Any) -> Any:
            under_way = _begin(self, len(batch) if counts else 0)
            result = None
            try:
                result = original(self, batch, *args, **kwargs)
                return result
            finally:
                _end(under_way, result)

        return like(original, export)

    return wrap


def _begin(exporter: Any, count: int) -> UnderWay | None:
    try:
        under_way = State.under_way[id(exporter)] = UnderWay(exporter, count)
        return under_way
    except Exception as error:  # noqa: BLE001 - ours must not keep spans from being sent
        isolation.report(error, __name__)
        return None


def _end(under_way: UnderWay | None, result: Any) -> None:
    try:
        # What was given up by `lose` is not there any more.
        if under_way is None or State.under_way.pop(id(under_way.exporter), None) is not under_way:
            return
        if not under_way.count:
            return
        if result is SpanExportResult.SUCCESS:
            flush.State.is_failing = flush.State.has_given_up = False
        else:
            flush.State.is_failing = True
            flush.State.has_given_up |= flush.State.until_reached is not None
            lost(under_way.count, under_way.reason(), under_way.exporter)
    except Exception as error:  # noqa: BLE001 - ours must not keep spans from being sent
        isolation.report(error, __name__)


def lost(count: int, reason: str, exporter: Any) -> None:
    """Count spans that will not arrive, and say so now and then."""
    if State.counter is None:
        meter = metrics.get_meter("clew.export", VERSION)
        State.counter = meter.create_counter(names.CLEW_SPANS_LOST, "{span}", "spans that were not delivered")
    State.counter.add(count, {names.ERROR_TYPE: reason})
    loss_report.note(count, reason, str(getattr(exporter, "_endpoint", "") or type(exporter).__name__))


class Watch:
    """The exporters, for a process that leaves (`core.flush.Exports`)."""

    def is_down(self, timeout: float) -> bool:
        """Whether no exporter that is sending can reach its collector; may take that many seconds."""
        endpoints = {str(getattr(each.exporter, "_endpoint", "")) for each in list(State.under_way.values())}
        until = time.monotonic() + timeout
        return bool(endpoints) and not any(can_connect(each, until - time.monotonic()) for each in endpoints)

    def lose(self, provider: TracerProvider) -> int:
        """Give up what the provider has not sent: count it, say it; returns how many spans it was."""
        total = 0
        for batch in flush.batches(provider):
            exporter = batch._exporter
            under_way = State.under_way.pop(id(exporter), None)
            reason = under_way.reason() if under_way is not None else "timeout"
            if reason == "rejected":  # nothing has answered yet
                reason = "unreachable" if flush.State.has_no_connection else "timeout"
            count = (under_way.count if under_way is not None else 0) + len(batch._queue)
            batch._queue.clear()
            if count:
                lost(count, reason, exporter)
            total += count
        loss_report.say()
        return total


def can_connect(endpoint: str, timeout: float, *, is_numeric: bool = False) -> bool:
    """Whether something accepts connections there; True where that cannot be told (a proxy, a socket file).

    Args:
        endpoint: an exporter's.
        timeout: seconds.
        is_numeric: do not ask for an address whose name would have to be looked up.
    """
    address = urlsplit(endpoint if "://" in endpoint else f"//{endpoint}")
    if not address.hostname or address.scheme not in ("", "http", "https") or getproxies():
        return True
    host, port = address.hostname, address.port or _DEFAULT_PORTS.get(address.scheme, 443)
    if is_numeric and host != "localhost" and not _is_numeric(host):
        return True
    try:
        socket.create_connection((host, port), max(timeout, 0.01)).close()
    except OSError:
        return False
    return True


def _is_numeric(host: str) -> bool:
    try:
        socket.getaddrinfo(host, None, flags=socket.AI_NUMERICHOST)
    except OSError:
        return False
    return True


def _uninstall() -> None:
    State.watched.clear()
    State.under_way.clear()
    State.counter = None
    flush.State.exports = None


def _install() -> None:
    flush.State.exports = Watch()


_OTLP = "opentelemetry.exporter.otlp.proto"

# A seam although it opens no span: patched when an exporter is imported, undone with the others.
LOSSES = Seam(
    "export.losses",
    tuple(
        Patch(f"{_OTLP}.{protocol}.{module}", f"{exporter}.export", _watching(counts), is_optional=True)
        for protocol in ("grpc", "http")
        for module, exporter, counts in (
            ("trace_exporter", "OTLPSpanExporter", True),
            ("metric_exporter", "OTLPMetricExporter", False),
            ("_log_exporter", "OTLPLogExporter", False),
        )
    ),
    on_install=_install,
    on_uninstall=_uninstall,
)
