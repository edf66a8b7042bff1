"""`stale_replica_read`: a table was written on one database and then read from its replica, in one request or task.

We stand at the query's end in the database seam, which knows what this request or task has written, and where; what
was rolled back, or changed no row, has written nothing. Which alias is a replica is said by the settings (a test
MIRROR, the same NAME on another HOST), or by the site's routers, when they have sent the write to the one and now send
the read to the other; they are watched, not asked. A name says nothing. Not found: databases of their own (shards),
replicas that neither tells of; other rows of the same table do count, because which rows a query reads cannot be told.
"""

from __future__ import annotations

import functools
from types import FrameType
from typing import Any

from clew.engine import needs, silenced
from clew.source import call_site
from clew.story.detector import Detector
from clew.story.findings import Finding
from clew.story.query import Query

_LOCAL = ("", "localhost", "127.0.0.1", "::1")
_QUERYSET = "django.db.models.query"
needs.declare(
    __name__,
    *needs.functions("django.db.utils", "ConnectionHandler.databases"),
    *needs.attributes("django.db.backends.base.base", "BaseDatabaseWrapper", "settings_dict"),
    *needs.attributes(_QUERYSET, "QuerySet", "_db", "_hints"),
    consequence="stale_replica_read is not looked for",
    switch_off=functools.partial(silenced.silence, "stale_replica_read"),
)


def _on_read(query: Query) -> None:
    queries = query.local.queries
    statement = query.statement
    if queries is None or not statement.is_select:
        return
    for table in statement.tables:
        alias = queries.written.get(table)
        if alias is None or alias == query.alias or (table, query.alias) in queries.written_on:
            continue
        if _is_replica(query.connection, alias):
            _report(query, table, alias, _by_name(query))
        elif queries.routed.get(table) == alias and not _by_name(query):
            _report(query, table, alias, "")
        return


def _is_replica(connection: Any, written_on: str) -> bool:
    """Whether the connection's settings say that it is a copy of the database that was written."""
    from django.db import connections

    written, read = connections.databases.get(written_on, {}), connection.settings_dict
    if (read.get("TEST") or {}).get("MIRROR") == written_on:
        return True
    is_same = written.get("ENGINE") == read.get("ENGINE") and written.get("NAME") == read.get("NAME")
    return is_same and _host(written) != _host(read)


def _host(settings: Any) -> str:
    host = str(settings.get("HOST") or "")
    return "" if host in _LOCAL or host.startswith("/") else host


def _by_name(query: Query) -> str:
    """The alias that the application names for this read; "" where its routers choose."""
    frame: FrameType | None = query.frame
    while frame is not None:
        if frame.f_globals.get("__name__") == _QUERYSET:
            held = getattr(frame.f_locals.get("self"), "__dict__", {})
            if "_db" in held and "_hints" in held:
                instance = held["_hints"].get("instance")
                # A related object may only be looked for where its owner came from.
                owner = instance._state.db if instance is not None else None
                return str(held["_db"] or (owner if owner == query.alias else ""))
        frame = frame.f_back
    return "unknown"


def _report(query: Query, table: str, alias: str, named: str) -> None:
    site = query.site or (call_site.call_site(query.frame) if query.frame is not None else None)
    finding = Finding(
        "stale_replica_read",
        f"{table} was written on {alias!r} and then read from {query.alias!r}, which may not have it yet",
        f"read it with .using({alias!r})"
        + ("" if named else f", or let the database router send reads to {alias!r} once something is written"),
        site,
        {"table": table, "written_on": alias, "read_from": query.alias},
    )
    query.report(finding, ("stale_replica_read", table, query.alias, str(site)))


DETECTOR = Detector(
    "stale_replica_read",
    doc="A table was written on one database and then read from its replica in the same request or task.",
    fix="Read from the database that was written, or let the router do so after a write.",
    not_found="Databases of their own (shards), tables written on both, writes that were rolled back or changed no "
    "row, replicas that neither the settings (a test MIRROR, the same NAME on another HOST) nor the routers tell.",
    on_read=_on_read,
)
