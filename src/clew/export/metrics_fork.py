"""Metrics of a process that exports and forks, as a prefork worker's main process does: neither may hurt the other.

A fork in the middle of a gRPC call skips gRPC's own fork handlers, and the child's exports hang. So a fork waits for a
running export, and a child opens connections of its own, counts from zero and says which process it is.
"""

from __future__ import annotations

import contextlib
import threading
from typing import Any

from opentelemetry import metrics
from opentelemetry.sdk.resources import Resource

from clew.engine import forks, isolation
from clew.export.outgoing import renew_connections

_WAIT_SECONDS = 1.0
_held: list[Any] = []
_of_parent: list[Any] = []


def _hold() -> None:
    """Before a fork: wait until nothing is being exported, and let nothing begin; a second at most."""
    for reader in _readers():
        lock = reader._export_lock
        if lock.acquire(timeout=_WAIT_SECONDS):
            _held.append(lock)


def _let_go() -> None:
    """After a fork, in the parent: exports go on."""
    while _held:
        with contextlib.suppress(RuntimeError):
            _held.pop().release()


forks.hold(_hold, _let_go)


def _readers() -> list[Any]:
    """Readers of the global meter provider that export by themselves."""
    readers = getattr(metrics.get_meter_provider(), "_metric_readers", ())
    return [each for each in readers if hasattr(each, "_export_lock")]


def renew(process: Resource) -> None:
    """After a fork, in the child: its metrics have a connection of their own and say which process they are of.

    Without the process two children send different numbers as one time series. What its parent has counted is the
    parent's to send.
    """
    _held.clear()
    try:
        provider = metrics.get_meter_provider()
        config = getattr(provider, "_sdk_config", None)
        if config is not None:
            config.resource = config.resource.merge(process)
        _forget_counts(provider)
        for reader in _readers():
            reader._export_lock = threading.Lock()  # held by its parent, or by us
            renew_connections(reader._exporter, _of_parent)
    except Exception as error:  # noqa: BLE001 - a provider of another version, or of someone else
        isolation.report(error, "fork of the meter provider")


def _forget_counts(provider: Any) -> None:
    consumer: Any = getattr(provider, "_measurement_consumer", None)
    if hasattr(consumer, "_lock"):
        consumer._lock = threading.Lock()  # the parent may have been collecting
    for storage in getattr(consumer, "_reader_storages", {}).values():
        storage._lock = threading.RLock()
        storage._instrument_view_instrument_matches.clear()
