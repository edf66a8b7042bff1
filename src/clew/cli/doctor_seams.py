"""`clew doctor`: where clew would stand in this environment, and who else stands there. Nothing is patched."""

from __future__ import annotations

import importlib
import logging
import sys
from importlib.metadata import entry_points
from typing import Any

from clew.cli.doctor_check import OK, PROBLEM, WARNING, Check, listed
from clew.cli.doctor_project import Project
from clew.engine.seam import Patch, Seam
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
    """The lines about seams and about other products that trace the same places."""
    settings = resolve(project.arguments or {}, getattr(project.settings, "CLEW", None)).settings
    found = _seams()
    on = [seam for seam in found if settings.is_on(seam.name)]
    off = [seam.name for seam in found if seam not in on]
    without = f"; off by settings: {', '.join(off)}" if off else ""
    checks = [Check("seams", OK, f"{len(on)} of {len(found)} would stand{without}")]
    for seam in on:
        lost = [f"{patch.module}.{patch.path}" for patch in seam.patches if not is_there(patch)]
        if lost:
            text = f"{seam.name} is incomplete, since this version has no {listed(lost)}"
            checks.append(Check("seams", PROBLEM, text, "upgrade clew, or tell its authors"))
    return checks + _drivers() + _rivals()


def _seams() -> tuple[Seam, ...]:
    logger = logging.getLogger("clew")
    # A library that is missing has its line among the versions.
    before, logger.disabled = logger.disabled, True
    try:
        found: tuple[Seam, ...] = importlib.import_module("clew.seams").seams()
        return found
    finally:
        logger.disabled = before


def is_there(patch: Patch) -> bool:
    """Whether a place exists; one in a module that nothing has imported yet counts as there."""
    owner: Any = sys.modules.get(patch.module)
    if owner is None or patch.is_optional:
        return True
    for name in patch.path.split("."):
        owner = getattr(owner, name, None)
        if owner is None:
            return False
    return True


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
