"""`clew doctor`: what clew needs of other libraries, all of it, asked of a process that imports every module.

A process of its own (`doctor_needs_process`), because importing a library may do anything, end the process included.
It says in lines of JSON what it is about to import, so that what ended it can be told, and left out the next time.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from typing import Any

from clew.cli.doctor.check import OK, PROBLEM, Check
from clew.seams import SEAMS

_TIMEOUT_S = 60.0
_MOST_ENDS = 5
_MOST_LINES = 20
# Not `-m`: the working directory may hold a module of a library's name.
_RUN = "import sys; sys.path[:] = filter(None, sys.path); from clew.cli.doctor import needs_process as it; it.main()"


@dataclass
class Found:
    """What the process has found.

    Args:
        there: how many of the names are there.
        needed: how many are needed of the libraries that are installed.
        absent: libraries that are not installed.
        troubles: what is wrong, and the library it is about.
        seams: names of the seams that would not stand.
    """

    there: int = 0
    needed: int = 0
    absent: list[str] = field(default_factory=list)
    troubles: list[tuple[str, str]] = field(default_factory=list)
    seams: list[str] = field(default_factory=list)


def look() -> Found:
    """Ask the process, again without what it did not come back from."""
    ends: list[str] = []
    while True:
        lines, end = _ask(ends)
        if lines and "found" in lines[-1]:
            return Found(**lines[-1]["found"])
        name = lines[-1]["doing"] if lines else ""
        if not name or name in ends or len(ends) >= _MOST_ENDS:
            text = f"nobody knows whether clew would stand: the process that looks {end}"
            return Found(troubles=[(text, "Python package")], seams=list(SEAMS))
        ends.append(name)


def _ask(ends: list[str]) -> tuple[list[dict[str, Any]], str]:
    environment = {**os.environ, "OTEL_SDK_DISABLED": "true", "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "*"}
    environment.pop("DJANGO_SETTINGS_MODULE", None)
    command = [sys.executable, "-c", _RUN, *ends]
    with subprocess.Popen(command, env=environment, stdin=subprocess.DEVNULL, **_PIPES) as process:
        try:
            out, err = process.communicate(timeout=_TIMEOUT_S)
            last = err.strip().rpartition("\n")[2]
            end = f"ends with {process.returncode}" + (f": {last}" if last else "")
        except subprocess.TimeoutExpired:
            process.kill()
            out, end = process.communicate()[0], f"does not end within {_TIMEOUT_S:g} s"
    return [json.loads(line) for line in out.splitlines() if line.endswith("}")], end


_PIPES: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def checks(found: Found) -> list[Check]:
    """Its lines."""
    absent = f"; not installed, so not traced: {', '.join(found.absent)}" if found.absent else ""
    text = f"{found.there} of {found.needed} names that clew needs of other libraries are there{absent}"
    lines = [Check("needs", OK, text)] if not found.troubles else []
    for what, library in found.troubles[:_MOST_LINES]:
        fix = f"`pip install -U clew`; if that is no newer, install an older {library}, and tell clew's authors"
        fix = fix if library else "correct the variable OTEL_... that says so"
        lines.append(Check("needs", PROBLEM, what, fix))
    if found.troubles and found.needed:
        more = len(found.troubles) - _MOST_LINES
        lines.append(Check("needs", OK, text + (f"; {more} more problems" if more > 0 else "")))
    return lines
