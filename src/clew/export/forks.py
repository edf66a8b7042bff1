"""A process that exports and forks, as a prefork worker's main process does: neither may hurt the other.

A fork in the middle of a gRPC call skips gRPC's own fork handlers, and the child's exports hang; a kept HTTP connection
would be written to by both. So a fork waits for a running export, and a child opens connections of its own.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterable
from typing import Any

from opentelemetry import metrics
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider

from clew.core.flush import batches
from clew.engine import isolation

_WAIT_SECONDS = 1.0
_held: list[Any] = []
# Destroying the parent's channel in the child would say goodbye on a connection the parent still uses.
_of_parent: list[Any] = []


def hold(providers: Iterable[TracerProvider]) -> None:
    """Before a fork: wait until nothing is being exported, and let nothing begin; a second at most."""
    for provider in providers:
        for batch in (*batches(provider), *_readers()):
            lock = getattr(batch, "_export_lock", None)
            if lock is not None and lock.acquire(timeout=_WAIT_SECONDS):
                _held.append(lock)


def let_go() -> None:
    """After a fork, in the parent: exports go on. In the child the SDK has made new locks."""
    while _held:
        with contextlib.suppress(RuntimeError):
            _held.pop().release()


def renew(provider: TracerProvider) -> None:
    """After a fork, in the child: exporters get connections of their own."""
    _held.clear()
    for batch in batches(provider):
        try:
            _renew(batch._exporter)
        except Exception as error:  # noqa: BLE001 - an exporter of another version, or of someone else
            isolation.report(error, f"fork of {type(batch).__name__}")


def _renew(exporter: Any) -> None:
    connect = getattr(exporter, "_initialize_channel_and_stub", None)
    if connect is not None:
        _of_parent.append(exporter._channel)
        connect()
    client = getattr(exporter, "_client", None)
    for holder in (exporter, client, getattr(client, "_transport", None)):
        session = getattr(holder, "_session", None)
        for adapter in getattr(session, "adapters", {}).values():
            adapter.init_poolmanager(adapter._pool_connections, adapter._pool_maxsize, block=adapter._pool_block)


def _readers() -> list[Any]:
    """Readers of the global meter provider that export by themselves."""
    readers = getattr(metrics.get_meter_provider(), "_metric_readers", ())
    return [each for each in readers if hasattr(each, "_export_lock")]


def renew_metrics(process: Resource) -> None:
    """After a fork, in the child: its metrics have a connection of their own and say which process they are of.

    Without the process two children send different numbers as one time series. What its parent has counted is the
    parent's to send.
    """
    try:
        provider = metrics.get_meter_provider()
        config = getattr(provider, "_sdk_config", None)
        if config is not None:
            config.resource = config.resource.merge(process)
        _forget_counts(provider)
        for reader in _readers():
            reader._export_lock = threading.Lock()  # held by its parent, or by us
            _renew(reader._exporter)
    except Exception as error:  # noqa: BLE001 - a provider of another version, or of someone else
        isolation.report(error, "fork of the meter provider")


def _forget_counts(provider: Any) -> None:
    consumer: Any = getattr(provider, "_measurement_consumer", None)
    if hasattr(consumer, "_lock"):
        consumer._lock = threading.Lock()  # the parent may have been collecting
    for storage in getattr(consumer, "_reader_storages", {}).values():
        storage._lock = threading.RLock()
        storage._instrument_view_instrument_matches.clear()
