from __future__ import annotations

import importlib.util

import pytest
from opentelemetry import trace as otel

from clew.testing import tracing
from tests.detectors.corpus.rows import make

# Celery 5.3 has no tasks of Django's, which some of these cases are about.
_HAS_DJANGO_TASKS = importlib.util.find_spec("celery.contrib.django") is not None
collect_ignore = [] if _HAS_DJANGO_TASKS else ["test_others.py", "test_fixes_that_paste.py", "test_others_elsewhere.py"]


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
