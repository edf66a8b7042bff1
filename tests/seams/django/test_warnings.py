"""Warnings and log records below our wrappers: the very lines that they name without clew."""

from __future__ import annotations

import functools
import os
import re
import subprocess
import sys
from pathlib import Path

import django
import pytest

ROOT = Path(__file__).parents[3]
PROGRAM = "tests.seams.django.warning_program"
SCENARIOS = ["orm", "json", "iterator", "raw", "transactions", "on_commit", "templates", "jinja", "authentication"]


def ran(which, option, *scenarios):
    command = [sys.executable, f"-W{option}", "-m", PROGRAM, which, *scenarios]
    environ = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    return subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100)


@functools.lru_cache
def told(which):
    done = ran(which, "default")
    assert done.returncode == 0, done.stderr[-3000:]
    _, *parts = re.split(r"^= (\w+)\n", done.stderr, flags=re.M)
    return dict(zip(parts[::2], parts[1::2], strict=True))


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_they_name_the_lines_they_name_without_clew(scenario):
    lines = told("clew")[scenario].splitlines()
    assert lines == told("nothing")[scenario].splitlines()
    assert scenario == "json" or any("PendingDeprecationWarning" in line for line in lines)


@pytest.mark.skipif(django.VERSION < (6, 1), reason="None in a JSON lookup is deprecated in Django 6.1")
def test_three_lines_with_a_deprecated_lookup_are_three_warnings():
    source = (ROOT / "tests/seams/django/warning_program.py").read_text().splitlines()
    wanted = [number for number, line in enumerate(source, 1) if "data=None" in line]
    found = re.findall(r"warning_program\.py:(\d+): RemovedInDjango\w+Warning: Using None", told("clew")["json"])
    assert len(wanted) == 3
    assert [int(number) for number in found] == wanted


@pytest.mark.skipif(not (5, 2) <= django.VERSION < (6, 1), reason="deprecated in Django 5.2 and 6.0")
def test_login_without_a_user_is_told_with_the_line_that_logs_in():
    [line] = re.findall(r"^.*Fallback to request.user.*\n(.*)", told("clew")["authentication"], re.M)
    assert line.strip() == "auth.login(request, None)"


@pytest.mark.parametrize("scenario", ["json"] if django.VERSION >= (6, 1) else ["orm", "templates"])
def test_a_warning_that_is_an_error_in_the_applications_module_is_raised(scenario):
    with_clew, without = (
        ran(which, "error::PendingDeprecationWarning:__main__", scenario) for which in ("clew", "nothing")
    )
    assert (with_clew.returncode, without.returncode) == (1, 1)
    last = [done.stderr.splitlines()[-1] for done in (with_clew, without)]
    assert "Warning: " in last[0]
    assert last[0] == last[1]
