from __future__ import annotations

import contextlib
import logging
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from celery import Celery, _state
from opentelemetry import trace as otel
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clew.testing import tracing
from tests.celery_site.app import make_app

Spans = Callable[[], tuple[ReadableSpan, ...]]


@pytest.fixture(autouse=True)
def _quiet_receivers(caplog):
    """Celery logs what a receiver raises and goes on; here it fails the test."""
    yield
    raised = [record for record in caplog.records if record.name == "celery.utils.dispatch.signal"]
    assert not [record.getMessage() for record in raised if "clew" in record.getMessage()]


@pytest.fixture(autouse=True)
def _nothing_stays_current():
    """No test leaves a span behind as the current one."""
    yield
    assert not otel.get_current_span().get_span_context().is_valid


@pytest.fixture
def app():
    return make_app(queue=f"clew-{uuid.uuid4().hex[:12]}")


@pytest.fixture
def eager(app):
    app.conf.task_always_eager = True
    return app


@contextlib.contextmanager
def current(app: Celery) -> Iterator[None]:
    """Make the app the current one: upstream finds no other's tasks."""
    before = getattr(_state._tls, "current_app", None)
    app.set_current()
    try:
        yield
    finally:
        _state._set_current_app(before)


@contextlib.contextmanager
def upstream(**options: Any) -> Iterator[Spans]:
    """contrib alone; gives what returns the ended spans."""
    exporter, provider = InMemorySpanExporter(), TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    CeleryInstrumentor().instrument(tracer_provider=provider, skip_dep_check=True, **options)
    try:
        yield exporter.get_finished_spans
    finally:
        CeleryInstrumentor().uninstrument()


@contextlib.contextmanager
def instrumented(with_clew: bool, **settings: Any) -> Iterator[Spans]:
    """clew, or contrib alone."""
    if not with_clew:
        with upstream() as spans:
            yield spans
        return
    with tracing(**settings) as captured:
        yield lambda: captured.spans


def is_error(span: ReadableSpan) -> bool:
    return span.status.status_code is otel.StatusCode.ERROR


def records_of(caplog: Any, name: str) -> list[str]:
    return [each.getMessage() for each in caplog.records if each.name.startswith(name) and each.levelno > logging.INFO]
