"""A span's scope is a seam: its file or package, its switch, its heading in docs/spans.md."""

from __future__ import annotations

import importlib
import pkgutil

import clew.seams
from clew.seams import SEAMS
from clew.spans.scope import Scope


def test_every_scope_is_a_seam():
    found = {}
    for module in pkgutil.walk_packages(clew.seams.__path__, "clew.seams."):
        for name, value in vars(importlib.import_module(module.name)).items():
            if type(value) is Scope or (name == "SCOPE" and isinstance(value, str)):
                found[f"{module.name}.{name}"] = value if isinstance(value, str) else value.name
    assert len(found) > len(SEAMS) / 2
    assert {where: scope for where, scope in found.items() if scope.removeprefix("clew.seams.") not in SEAMS} == {}
