"""The `trace` fixture: what a test's requests and tasks looked like, as a normalised span tree.

Loaded in every pytest run of a site that has clew installed, so it imports nothing before the fixture is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from clew.testing import Trace


@pytest.hookimpl(hookwrapper=True)
def pytest_load_initial_conftests() -> Iterator[None]:
    """Before the site's settings are read: a `setup_tracing()` in them exports nothing from tests."""
    for signal in ("TRACES", "METRICS", "LOGS"):
        os.environ.setdefault(f"OTEL_{signal}_EXPORTER", "none")
    yield


@pytest.fixture
def trace() -> Iterator[Trace]:
    """Spans of this test, as `trace.tree()`, `.spans`, `.named(...)`; and what is wrong, as `.assert_no_findings()`.

    Tests have few rows: two runs of a query from one place are an N+1 here, unless CLEW_N_PLUS_ONE_THRESHOLD is set.
    """
    from clew.testing import tracing

    settings = {} if "CLEW_N_PLUS_ONE_THRESHOLD" in os.environ else {"n_plus_one_threshold": 2}
    with tracing(**settings) as captured:
        yield captured
