"""`clew doctor`: the packages, and whether clew supports their versions."""

from __future__ import annotations

import platform
import re
from importlib.metadata import PackageNotFoundError, version

from clew.cli.doctor.check import OK, PROBLEM, WARNING, Check
from clew.version import VERSION

_LEAST = {
    "django": "4.2",
    "celery": "5.3",
    "opentelemetry-sdk": "1.43",
    "opentelemetry-instrumentation-django": "0.64b0",
    "opentelemetry-instrumentation-celery": "0.64b0",
    "opentelemetry-instrumentation-asgi": "0.64b0",
}
_SHOWN = {"django": "Django", "celery": "Celery", "opentelemetry-sdk": "OpenTelemetry"}


def check() -> list[Check]:
    """One line with the versions, and one for each that is missing or too old."""
    found = {package: installed(package) for package in _LEAST}
    shown = [f"clew {VERSION}", f"Python {platform.python_version()}"]
    shown += [f"{name} {found[package]}" for package, name in _SHOWN.items() if found[package]]
    checks = [Check("versions", OK, ", ".join(shown))]
    for package, least in _LEAST.items():
        checks += _judged(package, found[package], least)
    return checks


def installed(package: str) -> str:
    """The installed version of a distribution; empty if there is none."""
    # Not `__version__`: that would import it, and it may be what is broken.
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _judged(package: str, found: str, least: str) -> list[Check]:
    mend = f"pip install '{package}>={least}'"
    if not found and package == "celery":
        return [Check("versions", WARNING, "Celery is not installed here, so no task is traced", mend)]
    if not found:
        return [Check("versions", PROBLEM, f"{package} is not installed in this environment", mend)]
    if numbers(found) < numbers(least):
        return [Check("versions", PROBLEM, f"{package} {found} is not supported, only {least} or newer", mend)]
    return []


def numbers(text: str) -> tuple[int, ...]:
    """The leading numbers of a version, to compare: `5.3.0b1` is (5, 3, 0)."""
    found = re.match(r"\d+(?:\.\d+)*", text)
    return tuple(int(part) for part in found[0].split(".")) if found else ()
