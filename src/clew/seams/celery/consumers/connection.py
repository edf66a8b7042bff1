"""Connections of our own to the application's broker, which give up soon."""

from __future__ import annotations

from typing import Any

from clew.seams.celery.consumers.known import REDIS

_CONNECT_SECONDS, _ANSWER_SECONDS = 1.0, 2.0


def own_connection(of: Any) -> Any:
    """A connection to the same broker, open, that gives up soon."""
    from kombu import Connection

    options = dict(of.transport_options or {})
    if of.transport.driver_type == REDIS:
        options.update(socket_connect_timeout=_CONNECT_SECONDS, socket_timeout=_ANSWER_SECONDS)
    # Not `clone`: a pool's connections cannot be cloned.
    more = {"connect_timeout": _CONNECT_SECONDS, "heartbeat": 0, "transport_options": options}
    connection = Connection(**{**of.info(), **more})
    connection.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
    sock = getattr(getattr(connection.connection, "transport", None), "sock", None)
    if sock is not None:
        sock.settimeout(_ANSWER_SECONDS)
    return connection


def troubles(connection: Any) -> tuple[type[BaseException], ...]:
    """The exceptions of a broker that cannot be reached, or that refuses."""
    from kombu.exceptions import KombuError

    return (OSError, KombuError, *connection.connection_errors, *connection.channel_errors)


def release(connection: Any) -> None:
    """Close a connection, whatever state it is in."""
    try:
        connection.release()
    except Exception:  # noqa: BLE001 - it is gone either way
        pass
