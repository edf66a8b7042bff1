"""A process that exports and forks, as a prefork worker's main process does: neither may hurt the other.

A fork in the middle of a gRPC call skips gRPC's own fork handlers, and the child's exports hang; a kept HTTP connection
would be written to by both. So a fork waits for a running export, and a child opens connections of its own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from clew.core import isolation

_WAIT_SECONDS = 1.0
_held: list[Any] = []
# Destroying the parent's channel in the child would say goodbye on a connection the parent still uses.
_of_parent: list[Any] = []


def _batches(provider: TracerProvider) -> list[Any]:
    processors = getattr(provider._active_span_processor, "_span_processors", ())
    found = (getattr(each, "_batch_processor", None) for each in processors)
    return [each for each in found if each is not None]


def hold(providers: Iterable[TracerProvider]) -> None:
    """Before a fork: wait until nothing is being exported, and let nothing begin; a second at most."""
    for provider in providers:
        for batch in _batches(provider):
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
    for batch in _batches(provider):
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
