"""Nowhere to write to: one line, whichever command."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

RUN = "import sys; from clew.cli import main; sys.exit(main())"


def ran(command, redirection):
    """Its exit code, and what it said on stderr."""
    line = f'"$0" -c "$1" {command} {redirection}'
    done = subprocess.run(
        ["/bin/sh", "-c", line, sys.executable, RUN], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["settings", "view", "doctor", "demo", "--version"])
def test_standard_output_is_closed(command):
    assert ran(command, ">&-") == (1, "clew: standard output is closed\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
def test_a_disk_that_is_full():
    assert ran("settings", ">/dev/full") == (1, "clew: [Errno 28] No space left on device\n")


def test_standard_error_is_closed_too():
    assert ran("settings", ">&- 2>&-") == (1, "")
