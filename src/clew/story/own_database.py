"""The site's own databases, in the spans of drivers: what they are asked is no call to another service."""

from __future__ import annotations

import sys
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

_IN_PROCESS = ("sqlite", "duckdb", "locmem", "memory")
_SYSTEMS = {"mysql": ("mariadb",), "oracle": ("oracle.db",), "microsoft": ("mssql", "microsoft.sql_server")}


def is_of(connection: Any, span: ReadableSpan) -> bool:
    """Whether a span is no other service: a statement of the very database (a driver's), or a store in this process."""
    attributes: Any = span.attributes or {}
    system = str(attributes.get("db.system.name") or attributes.get("db.system") or "")
    if system in _IN_PROCESS:
        return True
    if not system or system not in (*_SYSTEMS.get(connection.vendor, ()), connection.vendor):
        return False
    settings = connection.settings_dict
    name = attributes.get("db.namespace") or attributes.get("db.name")
    host = attributes.get("server.address") or attributes.get("net.peer.name")
    # PostgreSQL's namespace may have its schema behind.
    is_same_name = not name or str(name).partition("|")[0] == str(settings.get("NAME"))
    return is_same_name and (not host or not settings.get("HOST") or host == settings["HOST"])


def is_of_any(span: ReadableSpan) -> bool:
    """Whether it is a statement of a database that this thread or task is connected to."""
    connections = getattr(sys.modules.get("django.db"), "connections", None)
    return connections is not None and any(is_of(each, span) for each in connections.all(initialized_only=True))
