"""`clew doctor`: settings and environment variables that keep traces from being made or sent."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from clew.cli.doctor.check import OK, PROBLEM, WARNING, Check
from clew.cli.doctor.project import Project
from clew.settings import Settings, resolve

# Read as text: importing wsgi.py would build the whole application.
_STARTS = ("manage.py", "wsgi.py", "asgi.py", "celery.py", "gunicorn.conf.py", "*/wsgi.py", "*/asgi.py", "*/celery.py")
_SETS_UP = re.compile(r"^[^#\n]*\bsetup_tracing\(", re.MULTILINE)
_NAMED = re.compile(r"""^[^#\n]*\bsetup_tracing\(\s*(?:service_name\s*=\s*)?["']([^"']+)["']""", re.MULTILINE)
_MAIN_SEAMS = {"django.request": "requests", "celery.publish": "sent tasks", "celery.run": "tasks that run"}


def check(project: Project, *, is_automatic: bool = False) -> list[Check]:
    """The lines about settings and `OTEL_*` variables.

    Args:
        project: what was found.
        is_automatic: whether this process was started by `opentelemetry-instrument`.
    """
    resolved = resolve(project.arguments or {}, getattr(project.settings, "CLEW", None))
    said = {check.text for check in project.checks}
    problems = [problem.removeprefix("clew: ") for problem in resolved.problems]
    fix = "`clew settings` shows what is in force"
    checks = [Check("settings", PROBLEM, problem, fix) for problem in problems if problem not in said]
    checks += _switches(resolved.settings) + _sampling() + _disabled() + _propagators()
    checks += _start(project, is_automatic=is_automatic)
    is_fine = all(each.level == OK for each in checks)
    if is_fine:
        checks.append(Check("settings", OK, "nothing is switched off"))
    return checks + _name(resolved.settings, project)


def _switches(settings: Settings) -> list[Check]:
    checks: list[Check] = []
    if os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true":
        checks.append(Check("settings", PROBLEM, "OTEL_SDK_DISABLED=true: nothing is recorded", "unset it"))
    if not settings.enabled:
        text = "clew is switched off by its setting `enabled`"
        checks.append(Check("settings", PROBLEM, text, "`clew settings` shows where it comes from"))
    for seam, what in _MAIN_SEAMS.items():
        if not settings.is_on(seam):
            name = seam.replace(".", "_")
            text = f"{what} get no span: the setting {name} is false"
            checks.append(Check("settings", WARNING, text, f"CLEW_{name.upper()}=true"))
    return checks


def _sampling() -> list[Check]:
    name = os.environ.get("OTEL_TRACES_SAMPLER", "").strip().lower()
    given = os.environ.get("OTEL_TRACES_SAMPLER_ARG", "").strip()
    if name.endswith("always_off"):
        text = f"OTEL_TRACES_SAMPLER={name}: no trace is kept"
        return [Check("settings", PROBLEM, text, "OTEL_TRACES_SAMPLER=parentbased_always_on")]
    if not name.endswith("traceidratio"):
        return []
    try:
        ratio = float(given or 1)
    except ValueError:
        return [Check("settings", WARNING, f"OTEL_TRACES_SAMPLER_ARG={given!r} is no number", "give one from 0 to 1")]
    if ratio >= 1:
        return []
    level = WARNING if ratio > 0 else PROBLEM
    text = f"{name} keeps {ratio:.3g} of all traces, so the one you look for may be missing"
    return [Check("settings", level, text, "OTEL_TRACES_SAMPLER_ARG=1 while you look")]


def _disabled() -> list[Check]:
    variable = "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS"
    names = {name.strip() for name in os.environ.get(variable, "").split(",")}
    checks: list[Check] = []
    if "clew" in names:
        text = f"{variable} has clew: opentelemetry-instrument does not start it"
        checks.append(Check("settings", PROBLEM, text, "take it out"))
    for name in sorted(names & {"django", "celery"}):
        text = f"{variable} has {name}, which does not keep clew from tracing it"
        checks.append(Check("settings", WARNING, text, "take it out, or switch clew's own seams off"))
    if os.environ.get("OTEL_PYTHON_DJANGO_INSTRUMENT", "").strip().lower() == "false":
        text = "OTEL_PYTHON_DJANGO_INSTRUMENT=False: requests get no span"
        checks.append(Check("settings", PROBLEM, text, "unset it"))
    return checks


def _propagators() -> list[Check]:
    # Baggage alone does not carry the trace.
    names = os.environ.get("OTEL_PROPAGATORS", "tracecontext").replace(" ", "").lower().split(",")
    if any(name not in ("", "none", "baggage") for name in names):
        return []
    text = f"OTEL_PROPAGATORS={','.join(names)}: a task does not learn of its request"
    return [Check("settings", PROBLEM, text, "OTEL_PROPAGATORS=tracecontext,baggage")]


def _name(settings: Settings, project: Project) -> list[Check]:
    variables = os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
    in_attributes = re.search(r"(?:^|,)\s*service\.name\s*=\s*([^,]+)", variables)
    given = settings.service_name or os.environ.get("OTEL_SERVICE_NAME") or (in_attributes and in_attributes[1].strip())
    if given:
        return [Check("service", OK, f"spans carry the service name {given!r}")]
    if in_code := _named_in_code():
        return [Check("service", OK, f"spans carry the service name {in_code[0]!r} where {in_code[1]} is run")]
    # What `clew.export.resources` falls back to: known to `opentelemetry-instrument` only from the environment.
    package = os.environ.get("DJANGO_SETTINGS_MODULE", "").partition(".")[0]
    name = "unknown_service:python"
    if package:
        name = (
            repr(package)
            if project.is_settings_in_environment
            else f"{package!r}, under opentelemetry-instrument {name!r}"
        )
    text = f"no service name is given; look for {name} in the backend"
    return [Check("service", WARNING, text, "OTEL_SERVICE_NAME=shop-web, another for the worker")]


def _named_in_code() -> tuple[str, str] | None:
    for path in _start_files():
        try:
            found = _NAMED.search(path.read_text(encoding="utf-8"))
        except (OSError, UnicodeError):
            continue
        if found is not None:
            return found[1], str(path)
    return None


def _start(project: Project, *, is_automatic: bool) -> list[Check]:
    if is_automatic or project.arguments is not None or any(map(_sets_up, _start_files())):
        return []
    if any(check.level == PROBLEM for check in project.checks):
        return []  # what could not be imported may well call it
    text = "nothing here calls setup_tracing(): what `opentelemetry-instrument` starts is traced, and nothing else"
    return [Check("settings", OK, text)]


def _start_files() -> list[Path]:
    return [path for pattern in _STARTS for path in Path().glob(pattern)]


def _sets_up(path: Any) -> bool:
    try:
        return _SETS_UP.search(path.read_text(encoding="utf-8")) is not None
    except (OSError, UnicodeError):
        return False
