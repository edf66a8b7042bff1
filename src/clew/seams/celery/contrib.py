"""contrib's CeleryInstrumentor, without those of its receivers that a seam of ours stands for.

Before us or after us, by `opentelemetry-instrument` or by hand: its `instrument()` works, its options and its histogram
are used, and uninstalling the seam connects its receivers again. We never import it: Celery would come with it.
"""

from __future__ import annotations

import sys
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from opentelemetry.metrics import Histogram, get_meter

from clew.engine.seam import Patch, like

MODULE = "opentelemetry.instrumentation.celery"
HISTOGRAM = "flower.task.runtime.seconds"
_SCHEMA = "https://opentelemetry.io/schemas/1.11.0"


class State:
    """What contrib was told, as the run seam needs it."""

    use_span_links = False
    histogram: Histogram | None = None


class TakeOver:
    """Stands for some of contrib's receivers.

    Args:
        receivers: for each signal's name, the instrumentor's method.
    """

    def __init__(self, **receivers: str) -> None:
        self._receivers = receivers
        self.patches = (Patch(MODULE, "CeleryInstrumentor._instrument", self._instrument_aside),)

    def take(self) -> None:
        """Disconnect the receivers, if contrib was there before us."""
        for instrumentor in _instrumented():
            self._disconnect(instrumentor)

    def give_back(self) -> None:
        """Connect them again."""
        for instrumentor in _instrumented():
            for signal, method in self._receivers.items():
                getattr(_signals(), signal).connect(getattr(instrumentor, method), weak=False)

    def _disconnect(self, instrumentor: Any) -> None:
        _learn(instrumentor)
        for signal, method in self._receivers.items():
            getattr(_signals(), signal).disconnect(getattr(instrumentor, method))

    def _instrument_aside(self, original: Any) -> Any:
        def _instrument(instrumentor: Any, **kwargs: Any) -> None:
            original(instrumentor, **kwargs)
            # 0.64 does not know the option yet, and drops it.
            instrumentor._use_span_links = bool(kwargs.get("use_span_links", False))
            self._disconnect(instrumentor)

        return like(original, _instrument)


def _signals() -> Any:
    return sys.modules["celery.signals"]


def _instrumented() -> list[Any]:
    module = sys.modules.get(MODULE)
    instrumentor = module.CeleryInstrumentor() if module is not None else None
    return [instrumentor] if instrumentor is not None and instrumentor.is_instrumented_by_opentelemetry else []


def _learn(instrumentor: Any) -> None:
    State.use_span_links = getattr(instrumentor, "_use_span_links", False)
    State.histogram = (instrumentor.metrics or {}).get(HISTOGRAM)


def forget() -> None:
    """Forget what contrib was told."""
    State.use_span_links, State.histogram = False, None


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


def _instrument_again(original: Any) -> Any:
    def instrument(self: Any, **kwargs: Any) -> Any:
        if not self.is_instrumented_by_opentelemetry:
            return original(self, **kwargs)
        kwargs.pop("skip_dep_check", None)
        kwargs.pop("raise_exception_on_conflict", None)
        if kwargs:  # given after `opentelemetry-instrument` has instrumented: contrib ignores them
            self._instrument(**kwargs)
        return None

    return like(original, instrument)


# contrib's own documentation instruments again in every child, and logs a warning there.
AGAIN = Patch(MODULE, "CeleryInstrumentor.instrument", _instrument_again)
