"""The corpus on PostgreSQL, and with a driver instrumentation: the same is found, and said on a span or the root."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.detectors.corpus import cases  # noqa: F401
from tests.detectors.corpus.case import CASES
from tests.detectors.corpus.runner import Result, score

PROGRAM = Path(__file__).parent / "corpus" / "program.py"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("database", "is_instrumented"),
    [
        pytest.param("sqlite", True),
        pytest.param("postgres", False, marks=pytest.mark.postgres),
        pytest.param("postgres", True, marks=pytest.mark.postgres),
    ],
)
def test_corpus(database, is_instrumented):
    if is_instrumented:
        pytest.importorskip("opentelemetry.instrumentation.sqlite3")
    environment = {**os.environ, "DATABASE": database, "INSTRUMENTED": "1" if is_instrumented else ""}
    done = subprocess.run([sys.executable, PROGRAM], env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    for threshold, found in json.loads(done.stdout).items():
        results = [Result(CASES[name], tuple(loads), tuple(messages)) for name, (loads, messages) in found.items()]
        scored = score(results, int(threshold))
        assert not scored.false_alarms, "\n".join(scored.false_alarms)
        assert scored.recall >= 0.98, "\n".join(scored.misses)
        assert not scored.misnamed, "\n".join(scored.misnamed)
