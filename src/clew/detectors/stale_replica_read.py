"""`stale_replica_read`: a table was written on one database and then read from its replica, in one request or task.

We stand at the query's end in the database seam, which knows what this request or task has written, and where. Which
alias is a replica, its settings say: a test MIRROR, the same NAME on another HOST, or its name. Not found: databases
of their own (shards), and replicas under names that do not tell; other rows of the same table do count, because which
rows a query reads cannot be told.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from clew.engine import needs, silenced
from clew.source import call_site
from clew.story import findings
from clew.story.detector import Detector
from clew.story.findings import Finding
from clew.story.query import Query

_NAME = re.compile(
    r"replica|reader|slave|secondary|standby|follower|mirror|(?:^|[_-])(?:read|ro)(?:[_-]|$)|readonly", re.I
)


needs.declare(
    __name__,
    *needs.functions("django.db.utils", "ConnectionHandler.databases"),
    *needs.attributes("django.db.backends.base.base", "BaseDatabaseWrapper", "settings_dict"),
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
            _report(query, table, alias)
        return


def _is_replica(connection: Any, written_on: str) -> bool:
    """Whether the connection's settings say that it is a copy of the database that was written."""
    from django.db import connections

    written, read = connections.databases.get(written_on, {}), connection.settings_dict
    if (read.get("TEST") or {}).get("MIRROR") == written_on:
        return True
    is_same = [written.get(key) == read.get(key) for key in ("ENGINE", "NAME", "HOST", "PORT")]
    if is_same == [True, True, True, True]:
        return False
    return is_same[:2] == [True, True] or _NAME.search(connection.alias) is not None


def _report(query: Query, table: str, alias: str) -> None:
    site = query.site or (call_site.call_site(query.frame) if query.frame is not None else None)
    finding = Finding(
        "stale_replica_read",
        f"{table} was written on {alias!r} and then read from {query.alias!r}, which may not have it yet",
        f"read it with .using({alias!r}), or let the database router send reads to {alias!r} once something is written",
        site,
        {"table": table, "written_on": alias, "read_from": query.alias},
    )
    if findings.report(query.local, finding, ("stale_replica_read", table, query.alias, str(site))):
        query.findings.append(finding)


DETECTOR = Detector(
    "stale_replica_read",
    doc="A table was written on one database and then read from its replica in the same request or task.",
    fix="Read from the database that was written, or let the router do so after a write.",
    not_found="Databases of their own (shards), tables written on both, replicas whose settings do not tell: a test "
    "MIRROR, the same NAME on another HOST, or an alias such as `replica`.",
    on_read=_on_read,
)
