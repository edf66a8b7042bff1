"""A meter provider in place of the global one, which the API lets be set only once, and what it was given."""

from __future__ import annotations

import pytest
from opentelemetry import metrics as api
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader

from clew.engine import metric


@pytest.fixture
def reader(monkeypatch):
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr(api._internal, "_METER_PROVIDER", provider)
    metric.reset()
    yield reader
    metric.reset()
    provider.shutdown()


def points(reader):
    """Every data point by the metric's name."""
    data = reader.get_metrics_data()
    return {
        metric.name: list(metric.data.data_points)
        for resource in (data.resource_metrics if data else ())
        for scope in resource.scope_metrics
        for metric in scope.metrics
    }


def values(reader, name):
    """Sums, or counts, of one metric by its attributes' values in the order of their names."""
    return {
        tuple(str(value) for _, value in sorted(point.attributes.items())): (
            point.value if hasattr(point, "value") else point.count
        )
        for point in points(reader).get(name, ())
    }
