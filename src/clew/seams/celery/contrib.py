"""contrib's CeleryInstrumentor, without those of its receivers that a seam of ours stands for.

Before us or after us, by `opentelemetry-instrument` or by hand: its `instrument()` works, its options and its histogram
are used, and uninstalling the seam connects its receivers again. We never import it: Celery would come with it.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from opentelemetry.metrics import Histogram, get_meter

from clew.engine.needs import attributes, functions
from clew.engine.seam import Patch
from clew.engine.series import Series
from clew.engine.wrapper import Around

MODULE = "opentelemetry.instrumentation.celery"
HISTOGRAM = "flower.task.runtime.seconds"
_SCHEMA = "https://opentelemetry.io/schemas/1.11.0"


class State:
    """The configuration of contrib's instrumentation, for the run seam."""

    use_span_links = False
    histogram: Histogram | None = None


_series = Series("task", "worker")


# What contrib was told, which only a run reads.
OPTIONS = (
    *attributes(MODULE, "CeleryInstrumentor", "metrics"),
    *attributes(MODULE, "CeleryInstrumentor", "_use_span_links", since="0.65"),
)


class TakeOver:
    """Stands for some of contrib's receivers.

    Args:
        receivers: for each signal's name, the instrumentor's method.
    """

    def __init__(self, **receivers: str) -> None:
        self._receivers = receivers
        self.patches = (Patch(MODULE, "CeleryInstrumentor._instrument", Around(note=self._instrumented)),)
        self.needs = functions(MODULE, *(f"CeleryInstrumentor.{method}" for method in receivers.values()))

    def take(self) -> None:
        """Disconnect the receivers, if contrib was there before us."""
        for instrumentor in _instrumented():
            self._disconnect(instrumentor)

    def give_back(self) -> None:
        """Connect contrib's receivers again."""
        for instrumentor in _instrumented():
            for signal, receiver in self._of(instrumentor):
                signal.connect(receiver, weak=False)

    def _disconnect(self, instrumentor: Any) -> None:
        _learn(instrumentor)
        for signal, receiver in self._of(instrumentor):
            signal.disconnect(receiver)

    def _of(self, instrumentor: Any) -> list[tuple[Any, Any]]:
        """Those it has: where one is missing, the seam is switched off and gives back the others."""
        signals: Any = sys.modules["celery.signals"]
        held = [(getattr(signals, name), method) for name, method in self._receivers.items()]
        return [(signal, getattr(instrumentor, method)) for signal, method in held if hasattr(instrumentor, method)]

    def _instrumented(self, instrumentor: Any, /, keywords: dict[str, Any]) -> None:
        self._disconnect(instrumentor)
        # 0.64 does not know the option yet, and drops it.
        State.use_span_links = bool(keywords.get("use_span_links", False))


def _instrumented() -> list[Any]:
    module = sys.modules.get(MODULE)
    instrumentor = module.CeleryInstrumentor() if module is not None else None
    return [instrumentor] if instrumentor is not None and instrumentor.is_instrumented_by_opentelemetry else []


def _learn(instrumentor: Any) -> None:
    State.use_span_links = getattr(instrumentor, "_use_span_links", False)
    State.histogram = (getattr(instrumentor, "metrics", None) or {}).get(HISTOGRAM)


def reset() -> None:
    """Forget contrib's configuration."""
    State.use_span_links, State.histogram = False, None
    _series.reset()


def record(seconds: float, labels: dict[str, Any]) -> None:
    """Record a run in contrib's histogram."""
    histogram().record(seconds, _series.bounded(labels))


def histogram() -> Histogram:
    """contrib's histogram of run times; made under its name where contrib is not instrumented."""
    if State.histogram is None:
        try:
            installed = version("opentelemetry-instrumentation-celery")
        except PackageNotFoundError:
            installed = ""
        meter = get_meter(MODULE, installed, schema_url=_SCHEMA)
        State.histogram = meter.create_histogram(HISTOGRAM, "seconds", "The time it took to run the task.")
    return State.histogram


def _instrument_again(instrumentor: Any, /, keywords: dict[str, Any]) -> Any:
    if not instrumentor.is_instrumented_by_opentelemetry:
        return NotImplemented
    unread = ("skip_dep_check", "raise_exception_on_conflict")
    options = {name: value for name, value in keywords.items() if name not in unread}
    if options:  # given after `opentelemetry-instrument` has instrumented: contrib ignores them
        instrumentor._instrument(**options)
    return None


# contrib's own documentation instruments again in every child, and logs a warning there.
AGAIN = Patch(MODULE, "CeleryInstrumentor.instrument", Around(instead=_instrument_again))
