"""Permissions for objects with django-guardian: what each costs, what is found, and that the fixes mend it."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("guardian")
ROOT = Path(__file__).parents[2]
TYPE = "permission_queries"


@functools.cache
def told():
    command = [sys.executable, "-m", "tests.detectors.guardian_program"]
    environ = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def test_each_check_says_whether_it_was_granted_and_what_it_asked():
    group = "django.contrib.auth.models.Group"
    assert told()["objects"]["checks"] == [[number % 2 == 1, group, 2] for number in range(8)]


@pytest.mark.parametrize("bad", ["objects", "same", "users", "asynchronously"])
def test_detects(bad):
    assert TYPE in told()[bad]["findings"]


@pytest.mark.parametrize(
    ("bad", "mended"), [("objects", "pasted"), ("objects", "in_its_place"), ("users", "users_pasted")]
)
def test_the_fix_mends_it_with_the_same_result(bad, mended):
    assert told()[mended]["result"] == told()[bad]["result"] != []
    assert told()[mended]["findings"] == []
