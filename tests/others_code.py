"""Code as a package of somebody else's would have it."""

from __future__ import annotations

import sysconfig
import textwrap
from typing import Any


def installed(source: str, **known: Any) -> dict[str, Any]:
    """The names that a module of an installed package defines.

    Args:
        source: its text.
        known: what it has besides.
    """
    names = {"__name__": "somebodys.patch", **known}
    exec(compile(textwrap.dedent(source), f"{sysconfig.get_path('purelib')}/somebodys/patch.py", "exec"), names)
    return names
