"""`clew settings`: every setting, its value, and which of its four places said so.

The answer to "I set it, why does it not work": a value that is spelt wrong or is no such value is one line, and an
exit code a deployment can check.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from clew.cli.reason import reason
from clew.cli.settings_module import settings_module
from clew.cli.terminal import Terminal, say
from clew.detectors import unknown_detectors
from clew.engine import redaction
from clew.settings import FIELDS, PREFIX, Resolved, SettingsError, resolve

DESCRIPTION = "Show every setting of clew, its value and where it came from."
EPILOG = """\
a value comes from the first of these that is there:
  argument        setup_tracing(task_parent="link")
  environment     CLEW_TASK_PARENT=link
  settings CLEW   CLEW = {"TASK_PARENT": "link"} in Django's settings
  default

exit code: 0, or 1 if a setting does not exist or has a value that cannot be used.
"""


class _UnreadableError(Exception):
    """Django's settings cannot be read; the message is one line."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    parser.add_argument(
        "--settings-module",
        metavar="MODULE",
        help="Django's settings, as mysite.settings (default: DJANGO_SETTINGS_MODULE; none: the environment only)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the settings.

    Returns:
        0, or 1 if something about them is wrong.
    """
    module, _ = settings_module(args.settings_module)
    problems: list[str] = []
    arguments: Mapping[str, Any] = {}
    django: Any = None
    try:
        if module:
            arguments, django = _read(module)
    except SettingsError as error:
        problems += str(error).splitlines()
    except _UnreadableError as error:
        problems.append(str(error))
    resolved = resolve(arguments, django)
    problems += [problem for problem in resolved.problems if problem not in problems]
    problems += unknown_detectors(resolved.settings.ignored_findings)
    problems = [redaction.redactor.text(problem) for problem in problems]
    if args.json:
        print(json.dumps({"settings": _rows(resolved), "problems": problems}, indent=2))
    else:
        _print_table(resolved, Terminal.of(sys.stdout), wraps=sys.stdout.isatty())
    for problem in problems:
        say(problem)
    return 1 if problems else 0


def _read(module: str) -> tuple[Mapping[str, Any], Any]:
    """What the project's `setup_tracing()` was given, if its settings call it, and its `CLEW`."""
    # A command's path starts at its own directory; `manage.py` starts at the project's.
    sys.path.insert(0, os.getcwd())
    # Reading settings must neither patch nor send anything.
    os.environ["OTEL_SDK_DISABLED"] = "true"
    try:
        # What they print would stand in the middle of the JSON.
        with contextlib.redirect_stdout(sys.stderr):
            settings = importlib.import_module(module)
    except SettingsError:
        raise
    except (Exception, SystemExit) as error:  # noqa: BLE001 - a project's settings may raise anything
        raise _UnreadableError(f"clew: {module} cannot be imported: {reason(error)}") from None
    # Looked up, not imported: it would bring Django along.
    bootstrap: Any = sys.modules.get("clew.bootstrap")
    tracing = bootstrap.active() if bootstrap else None
    return (tracing._arguments if tracing else {}), getattr(settings, "CLEW", None)


def _rows(resolved: Resolved) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "value": getattr(resolved.settings, name),
            "source": resolved.sources[name],
            "environment": PREFIX + name.upper(),
            "description": each.metadata["doc"],
        }
        for name, each in FIELDS.items()
    ]


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, tuple):
        # Pairs as they are written in the environment.
        return ",".join(each if isinstance(each, str) else "=".join(map(str, each)) for each in value) or "-"
    # An empty cell would shift the columns for `awk`.
    return str(value) or "-"


def _print_table(resolved: Resolved, screen: Terminal, *, wraps: bool) -> None:
    """One line a setting, so that it can be searched; in a terminal its description goes under it."""
    rows = [
        ("setting", "value", "from", "environment", "description"),
        *((r["name"], _shown(r["value"]), r["source"], r["environment"], r["description"]) for r in _rows(resolved)),
    ]
    widths = [max(len(screen.clean(row[column])) for row in rows) for column in range(4)]
    for row in rows:
        cells = [screen.clean(text).ljust(width) for text, width in zip(row, widths, strict=False)]
        is_heading, is_given = row is rows[0], row[2] not in ("default", "from")
        name, value, source, variable = (f"{cell}  " for cell in cells)
        style = "bold" if is_heading else "good" if is_given else ""
        line = [(name, "bold"), (value, style), (source, style), (variable, "bold" if is_heading else "dim")]
        if not wraps:
            print(screen.paint([*line, (row[4], "")]))
            continue
        print(screen.paint(screen.clip(line)))
        for text in [] if is_heading else screen.wrap(screen.clean(row[4]), screen.width - 4, 3):
            print(screen.paint([(f"    {text}", "dim")]))
