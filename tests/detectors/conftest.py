from __future__ import annotations

import pytest
from opentelemetry import trace as otel

from clew.testing import tracing
from tests.detectors.corpus.rows import make


@pytest.fixture
def rows(db):
    """Twelve rows of each model of the corpus."""
    make(12)


@pytest.fixture
def findings_of(rows):
    """Runs a function below a root of its own; returns the findings of one type, put into words."""

    def run(kind, function, **settings):
        with tracing(**settings) as trace:
            with otel.get_tracer("tests").start_as_current_span("root"):
                function()
            return [{"site": each.site, **each.attributes()} for each in trace.findings if each.type == kind]

    return run
