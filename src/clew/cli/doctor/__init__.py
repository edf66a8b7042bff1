"""`clew doctor`: why do I see no trace, and where is my task?

One line for each thing that was looked at: ok, warning or problem, and how to mend it. It sends no task, reads no
message, declares no queue of the application's, and leaves no span.
"""

from __future__ import annotations

import argparse
import importlib
import json
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, replace
from typing import Any

from clew.cli.doctor import project as doctor_project
from clew.cli.doctor import settings as doctor_settings
from clew.cli.doctor import versions as doctor_versions
from clew.cli.doctor.check import OK, PROBLEM, WARNING, Check, guarded
from clew.cli.terminal import Terminal
from clew.engine import redaction

_STYLES = {OK: "good", WARNING: "finding", PROBLEM: "error"}
_LEVEL_WIDTH, _TOPIC_WIDTH = 9, 10
_MOST_LINES = 12

DESCRIPTION = "Check what keeps traces from appearing, and tasks from running."
EPILOG = """\
examples:
  clew doctor                               in the site's directory, beside manage.py
  clew doctor --app shop.celery:app         with the Celery app named
  clew doctor --json | jq '.checks[] | select(.level != "ok")'

exit code: 0, or 1 if anything is a problem (warnings are none).
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add what the subcommand takes."""
    parser.add_argument(
        "--settings-module",
        metavar="MODULE",
        help="Django's settings, as mysite.settings (default: DJANGO_SETTINGS_MODULE, else manage.py's)",
    )
    parser.add_argument(
        "--app",
        "-A",
        metavar="APP",
        help="the Celery app, as mysite.celery:app (default: CELERY_APP, else celery.py beside the settings)",
    )
    parser.add_argument(
        "--timeout",
        type=_seconds,
        default=5.0,
        metavar="SECONDS",
        help="longest to wait for each of exporter, broker and workers (default: 5)",
    )
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Look at everything and print it.

    Returns:
        0, or 1 if anything is a problem.
    """
    if args.json:
        checks = [_clean(check) for check in _checks(args)]
        print(json.dumps({"checks": [asdict(check) for check in checks], **_counts(checks)}, indent=2))
    else:
        checks = []
        # Printed as they are found: some take seconds.
        for check in map(_clean, _checks(args)):
            checks.append(check)
            _print(check, Terminal.of(sys.stdout), wraps=sys.stdout.isatty())
        print(", ".join(f"{number} {what[:-1] if number == 1 else what}" for what, number in _counts(checks).items()))
    return 1 if _counts(checks)["problems"] else 0


def _checks(args: argparse.Namespace) -> Iterator[Check]:
    """The checks in the order in which one thing needs another; imported when it is their turn."""
    is_automatic = doctor_project.stand_down()
    yield from guarded("versions", doctor_versions.check)
    project = doctor_project.load(args)
    yield from project.checks
    yield from guarded("settings", lambda: doctor_settings.check(project, is_automatic=is_automatic))
    yield from guarded("exporter", lambda: _module("export").check(args.timeout))
    yield from guarded("seams", lambda: _module("seams").check(project))
    if project.app is not None:
        yield from guarded("celery", lambda: _module("queues").check(project, args.timeout))


def _module(name: str) -> Any:
    return importlib.import_module(f"clew.cli.doctor.{name}")


def _clean(check: Check) -> Check:
    text = redaction.redactor.text
    return replace(check, text=text(check.text), fix=text(check.fix))


def _counts(checks: list[Check]) -> dict[str, int]:
    levels = Counter(check.level for check in checks)
    return {"problems": levels[PROBLEM], "warnings": levels[WARNING]}


def _print(check: Check, screen: Terminal, *, wraps: bool) -> None:
    """One line, so that it can be searched; in a terminal it is broken to fit, and the fix begins a line."""
    level, topic = check.level.ljust(_LEVEL_WIDTH), check.topic.ljust(_TOPIC_WIDTH)
    head = [(level, _STYLES[check.level]), (topic, "bold")]
    text, fix = screen.clean(check.text), screen.clean(f"fix: {check.fix}" if check.fix else "")
    if not wraps:
        print(screen.paint([*head, ("; ".join(filter(None, (text, fix))), "")]), flush=True)
        return
    indent = _LEVEL_WIDTH + _TOPIC_WIDTH
    lines = [(line, "") for line in screen.wrap(text, screen.width - indent, _MOST_LINES)]
    lines += [(line, "fix") for line in screen.wrap(fix, screen.width - indent, _MOST_LINES) if fix]
    for number, line in enumerate(lines):
        print(screen.paint([*(head if number == 0 else [(" " * indent, "")]), line]), flush=True)


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0
    if not 0 < seconds <= 300:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds (over 0, up to 300)")
    return seconds
