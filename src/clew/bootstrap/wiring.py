"""A provider with clew's processors and seams, which know nothing of each other: they are brought together here."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.sdk.trace import TracerProvider

from clew import span_names
from clew.bootstrap import delivery, django_ready, stable_names
from clew.detectors import detectors, unknown_detectors
from clew.engine import configuration, flush, isolation, redaction
from clew.export import provider as providers
from clew.export import resources, signals
from clew.processors import processors
from clew.processors.redact_signals import SIGNALS
from clew.seams import seams
from clew.settings import Settings
from clew.source import frames
from clew.spans import scope as spans
from clew.spans.pipeline import Pipeline
from clew.story import detector


class Wiring:
    """What clew has put around a provider in this process.

    Args:
        provider: its own, or the one that was there.
    """

    def __init__(self, provider: TracerProvider) -> None:
        self.provider = provider
        # Takes clew's own spans; None where somebody else exports.
        self.deliver: Callable[[Sequence[Any]], None] | None = None
        self._processors: list[Any] = []

    def set_up_delivery(self) -> None:
        """Make clew's own export queues."""
        queues = tuple(delivery.delivering())
        flush.queues = queues
        self._processors += queues
        self.deliver = delivery.taking(queues)

    def lend_processors(self) -> None:
        """Have the provider call clew's processors."""
        self._processors = processors() + self._processors
        providers.lend(self.provider, self._processors)

    def apply(self, settings: Settings) -> None:
        """Install the seams and detectors that these settings ask for, take out the others."""
        configuration.settings = settings
        redaction.configure(settings.redact_names)
        span_names.configure(settings.span_names)
        resources.redact()
        if not settings.enabled:
            _stop_tracing()
            return
        _watch(settings)
        pipeline = Pipeline(self.provider, settings.max_spans_per_trace, self.deliver)
        pipeline.max_spans_per_parent = settings.max_spans_per_parent
        spans.install(pipeline)
        for seam in seams():
            if settings.is_on(seam.name):
                seam.install()
            else:
                seam.uninstall()
        if django_ready.is_ready():
            django_ready.notify_seams()

    def take_down(self) -> None:
        """Undo all of it; the provider stays with whoever made it."""
        django_ready.uninstall()
        _stop_tracing()
        providers.release(self.provider)
        for processor in self._processors:
            processor.is_on = False
        for seam in (providers.ENCODING, *SIGNALS):
            seam.uninstall()
        signals.uninstall()
        flush.queues, flush.close_signals = (), None


def wire(given: TracerProvider | None, settings: Settings, *, is_automatic: bool) -> Wiring | None:
    """Make or take the provider and put clew's processors on it; `apply` does the rest.

    Args:
        given: the provider to use; None: the global one, which is made where there is none.
        settings: for what is made.
        is_automatic: under `opentelemetry-instrument`, where nobody has touched the provider yet.

    Returns:
        None where the global provider is none of the SDK's.
    """
    stable_names.prefer()
    is_made_here = given is None and providers.is_missing()
    provider = given or providers.obtain(settings.service_name)
    if provider is None:
        return None
    wiring = Wiring(provider)
    for seam in (providers.ENCODING, *SIGNALS):
        seam.install()
    if is_made_here or signals.is_ours(provider):
        signals.install(provider, is_automatic=is_automatic)
        flush.close_signals = signals.close
    if given is None and (not providers.has_processors(provider) or (is_automatic and providers.step_aside(provider))):
        wiring.set_up_delivery()
    wiring.lend_processors()
    return wiring


def _watch(settings: Settings) -> None:
    """Connect the detectors that these settings leave on."""
    frames.reset()  # where the project lies may be known only now
    ignored = set(settings.ignored_findings)
    for line in unknown_detectors(ignored):
        isolation.warn(line)
    detector.watch(
        [each for each in detectors() if each.type not in ignored],
        threshold=settings.n_plus_one_threshold,
        slow_ms=settings.slow_query_threshold_ms,
        many_rows=settings.unbounded_fetch_threshold_rows,
        write_threshold=settings.write_in_loop_threshold,
    )


def _stop_tracing() -> None:
    for seam in reversed(seams()):
        seam.uninstall()
    spans.install(None)
    detector.watch(())
