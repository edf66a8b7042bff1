"""Async views below greenlets: nothing watches their loops, nobody hangs, and the answers are the same."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("library", ["gevent", "eventlet"])
@pytest.mark.parametrize("which", ["clew", "nothing"])
def test_no_loop_is_watched_and_none_hangs(library, which):
    pytest.importorskip(library)
    command = [sys.executable, "-m", "tests.green.async_program", library, which]
    environ = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
    done = subprocess.run(command, cwd=ROOT, env=environ, capture_output=True, text=True, timeout=100)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == f"{['answer'] * 4} [] []"
