"""Which settings module a project has: what is given, what the environment says, what its manage.py would set."""

from __future__ import annotations

import os
import re
from pathlib import Path

_IN_MANAGE = re.compile(r"""["']DJANGO_SETTINGS_MODULE["']\s*,\s*["']([\w.]+)["']""")


def settings_module(given: str | None) -> tuple[str, str]:
    """Its name, and where it was found; two empty strings where it was not.

    Args:
        given: that of `--settings-module`.
    """
    if given:
        return given, "--settings-module"
    if os.environ.get("DJANGO_SETTINGS_MODULE"):
        return os.environ["DJANGO_SETTINGS_MODULE"], "DJANGO_SETTINGS_MODULE"
    try:
        found = _IN_MANAGE.search(Path("manage.py").read_text(encoding="utf-8"))
    except (OSError, UnicodeError):
        found = None
    return (found[1], "manage.py") if found else ("", "")
