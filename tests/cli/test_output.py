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
    # Where Python does not buffer, argparse itself passes over what it could not write.
    env = {key: value for key, value in os.environ.items() if key != "PYTHONUNBUFFERED"}
    done = subprocess.run(
        ["/bin/sh", "-c", line, sys.executable, RUN],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        env=env,
    )
    return done.returncode, done.stderr


@pytest.mark.parametrize("command", ["settings", "view", "doctor", "demo", "--version"])
def test_standard_output_is_closed(command):
    assert ran(command, ">&-") == (1, "clew: standard output is closed\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
@pytest.mark.parametrize("command", ["settings", "--version", "--help", "view --help"])
def test_a_disk_that_is_full(command):
    code, said = ran(command, ">/dev/full")
    assert (code, said) == (1, "clew: [Errno 28] No space left on device\n")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
def test_a_standard_error_that_is_full_changes_nothing():
    assert ran("settings --settings-module nosuch", "2>/dev/full")[0] != 0
    assert ran("settings", "2>/dev/full")[0] == 0


def test_what_is_no_output_does_not_go_there_when_standard_error_is_closed():
    line = '"$0" -c "$1" settings --settings-module nosuch 2>&-'
    done = subprocess.run(["/bin/sh", "-c", line, sys.executable, RUN], stdout=subprocess.PIPE, text=True)
    assert done.returncode == 1
    assert "nosuch" not in done.stdout


def test_a_wrong_option_is_said_with_the_usage_of_its_command():
    code, said = ran("view --bogus", "")
    assert code == 2
    assert said.startswith("usage: clew view ")
    assert said.endswith("clew view: error: unrecognized arguments: --bogus\n")


def test_the_live_part_of_the_demo_without_channels_is_a_line():
    without = "import sys; sys.modules['channels'] = None; " + RUN
    done = subprocess.run([sys.executable, "-c", without, "demo", "live"], capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr == "clew demo: the Python package 'channels' is missing: pip install channels daphne\n"


def test_standard_error_is_closed_too():
    assert ran("settings", ">&- 2>&-") == (1, "")
