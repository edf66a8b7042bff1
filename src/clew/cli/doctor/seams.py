"""`clew doctor`: where clew would stand in this environment, and who else stands there. Nothing is patched."""

from __future__ import annotations

import sys
from importlib.metadata import entry_points
from typing import Any

from clew.cli.doctor import needs
from clew.cli.doctor.check import OK, WARNING, Check
from clew.cli.doctor.project import Project
from clew.seams import SEAMS
from clew.settings import resolve

_RIVALS = {"ddtrace": "Datadog", "newrelic": "New Relic", "elasticapm": "Elastic APM", "scout_apm": "Scout"}
# The instrumentations whose spans the database seam annotates instead of opening its own.
_DRIVERS = {
    "aiopg",
    "asyncpg",
    "mysql",
    "mysqlclient",
    "psycopg",
    "psycopg2",
    "pymssql",
    "pymysql",
    "sqlite3",
}


def check(project: Project) -> list[Check]:
    """The lines about seams, about what they and the rest of clew need, and about other products at the same places."""
    settings = resolve(project.arguments or {}, getattr(project.settings, "CLEW", None)).settings
    found = needs.look()
    on = [name for name in SEAMS if settings.is_on(name)]
    off = [name for name in SEAMS if name not in on]
    standing = [name for name in on if name not in found.seams]
    without = f"; off by settings: {', '.join(off)}" if off else ""
    level = WARNING if found.troubles else OK
    checks = [Check("seams", level, f"{len(standing)} of {len(SEAMS)} would stand{without}")]
    return checks + needs.checks(found) + _drivers() + _rivals()


def _drivers() -> list[Check]:
    names = _DRIVERS.intersection(entry.name for entry in entry_points(group="opentelemetry_instrumentor"))
    if not names:
        return []
    shown = ", ".join(sorted(names))
    return [Check("seams", OK, f"where {shown} is instrumented too, clew annotates its spans: no query twice")]


def _rivals() -> list[Check]:
    checks = [
        Check("seams", WARNING, f"{name} is loaded too: it patches the same places", "trace with one of the two")
        for module, name in _RIVALS.items()
        if module in sys.modules
    ]
    if _is_sentry_tracing():
        text = "Sentry's tracing is on too: every span costs twice"
        checks.append(Check("seams", WARNING, text, "take traces_sample_rate out of sentry_sdk.init()"))
    return checks


def _is_sentry_tracing() -> bool:
    sentry: Any = sys.modules.get("sentry_sdk")
    client = sentry.get_client() if hasattr(sentry, "get_client") else None
    options = getattr(client, "options", None) or {}
    return any(options.get(name) for name in ("traces_sample_rate", "traces_sampler", "enable_tracing"))
