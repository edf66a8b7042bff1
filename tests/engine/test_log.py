"""What clew says is seen: whatever a site's logging does with it."""

from __future__ import annotations

import subprocess
import sys

import pytest

SAY = "import logging.config\nfrom clew.engine import isolation\n{}\nisolation.warn('clew: said')\n"
LOGGING = "logging.config.dictConfig({{'version': 1, 'handlers': {{'out': {{'class': 'logging.StreamHandler'}}}}, {}}})"


def said(code: str) -> str:
    done = subprocess.run([sys.executable, "-c", SAY.format(code)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stderr


@pytest.mark.parametrize(
    "code",
    [
        "",
        "logging.basicConfig()",
        "logging.basicConfig(format='[%(levelname)s] %(message)s')",
        LOGGING.format("'root': {'handlers': ['out']}"),
        LOGGING.format("'loggers': {'shop': {'handlers': ['out']}}"),
        LOGGING.format("'loggers': {'clew': {'handlers': ['out']}}"),
        "from opentelemetry.sdk._logs import LoggingHandler\nlogging.getLogger().addHandler(LoggingHandler())",
        "logging.getLogger().addHandler(logging.StreamHandler())",
    ],
    ids=[
        "no handler",
        "basicConfig",
        "a format",
        "LOGGING with a root",
        "LOGGING without one",
        "LOGGING that names it",
        "a handler that only sends",
        "a handler",
    ],
)
def test_a_warning_is_seen_once(code):
    assert said(code).count("clew: said") == 1


@pytest.mark.parametrize(
    "code",
    [
        LOGGING.format("'loggers': {'clew': {'level': 'ERROR'}}"),
        "logging.getLogger('clew').setLevel('ERROR')",
        "logging.disable(logging.WARNING)",
        "logging.getLogger('clew').addHandler(logging.FileHandler('/dev/null'))",
    ],
    ids=["LOGGING says so", "its level", "all of logging", "it goes to a file"],
)
def test_what_was_asked_for_is_not_seen(code):
    assert said(code) == ""


def test_no_password_of_an_endpoint_is_said():
    told = said("isolation.warn('clew: spans were lost: http://bob:cAnary7x@h:4318/v1/traces could not be reached')")
    assert "http://[redacted]@h:4318/v1/traces could not be reached" in told
    assert "cAnary7x" not in told
