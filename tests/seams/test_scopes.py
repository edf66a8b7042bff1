"""A span's scope is a seam: its file or package, its switch, its heading in docs/spans.md."""

from __future__ import annotations

import importlib
import pkgutil

import pytest

import clew.seams
from clew import seams
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


@pytest.mark.parametrize(("there", "said"), [(("django",), []), (("celery",), []), ((), ["neither Django nor Celery"])])
def test_a_site_without_celery_or_a_worker_without_django_is_told_nothing(monkeypatch, there, said):
    warned = []
    monkeypatch.setattr(seams, "is_installed", lambda library: library in there)
    monkeypatch.setattr(seams.isolation, "warn", warned.append)
    found = {seam.name.partition(".")[0] for seam in seams.seams.__wrapped__()}
    assert found == {*there, *(("asgi",) if "django" in there else ())}
    assert [any(part in line for line in warned) for part in said] == [True] * len(warned)
