"""A metric of clew's: made with its first value, its series bounded, listed in docs/metrics.md.

Recorded where there is a meter provider; whoever has to work something out for it asks `is_metered` first.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

from opentelemetry import metrics
from opentelemetry.context import Context

from clew.engine.series import Series
from clew.version import VERSION

COUNTER, UP_DOWN, HISTOGRAM = "counter", "up-down counter", "histogram"
SHORT_S = (0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10)
LONG_S = (0.005, 0.025, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 300, 1800, 3600, 21600, 86400)
# Of two threads that make an instrument at once, the SDK warns.
_making = threading.Lock()
# By name.
METRICS: dict[str, Metric] = {}


def is_metered() -> bool:
    """Whether anybody would see a metric."""
    # The providers of the API itself record nothing.
    return not type(metrics.get_meter_provider()).__module__.startswith("opentelemetry.metrics")


class Metric:
    """One metric.

    Args:
        scope: name of its meter.
        name: its own.
        kind: `COUNTER`, `UP_DOWN` or `HISTOGRAM`.
        unit: of its values.
        text: what it says, for docs/metrics.md and backends.
        outside: attributes that are `_OTHER` together when there are too many series.
        bounds: of a histogram's buckets.
    """

    def __init__(
        self, scope: str, name: str, kind: str, unit: str, text: str, *outside: str, bounds: Sequence[float] = SHORT_S
    ) -> None:
        self.scope, self.name, self.kind, self.unit, self.text = scope, name, kind, unit, text
        self._series, self._bounds = Series(*outside), list(bounds)
        self._record: Any = None
        METRICS[name] = self

    def record(self, value: float, labels: dict[str, Any], exemplar: Context | None = None) -> dict[str, Any]:
        """Record, or add, a value; returns the labels by which that was done."""
        if self._record is None:
            with _making:
                self._record = self._record or self._made()
        labels = self._series.bounded(labels)
        self._record(value, labels, exemplar)
        return labels

    def _made(self) -> Any:
        meter = metrics.get_meter(self.scope, VERSION)
        if self.kind == HISTOGRAM:
            return meter.create_histogram(
                self.name, self.unit, self.text, explicit_bucket_boundaries_advisory=self._bounds
            ).record
        make = meter.create_counter if self.kind == COUNTER else meter.create_up_down_counter
        return make(self.name, self.unit, self.text).add

    def reset(self) -> None:
        """Another provider may be there next time."""
        self._record = None
        self._series.reset()


def reset() -> None:
    """Forget the instruments of all metrics."""
    for each in METRICS.values():
        each.reset()
