"""Where light spans go: the provider's processors, as if the SDK's own span had started and ended.

One pipeline for the provider that clew was set up with. It knows whether light spans are allowed there (only where the
sampler gives a child its parent's decision), the provider's limits, and which processors want to see a start.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Tracer

from clew.engine import isolation
from clew.version import VERSION

if TYPE_CHECKING:
    from clew.core.light_span import LightSpan

# These do nothing at a start or before an end; others may, and are called.
_SILENT = {SpanProcessor.on_start, BatchSpanProcessor.on_start, SimpleSpanProcessor.on_start}
_SILENT_ENDING = {SpanProcessor._on_ending, BatchSpanProcessor._on_ending, SimpleSpanProcessor._on_ending}


class Pipeline:
    """Hands light spans over to a provider's processors.

    Args:
        provider: the SDK's provider.
        max_spans_per_trace: spans of one request or task in this process.
    """

    max_folds = 200

    def __init__(self, provider: TracerProvider, max_spans_per_trace: int = 2000) -> None:
        self.provider = provider
        self.limits = provider._span_limits
        self.max_spans_per_trace = max_spans_per_trace
        self.new_span_id = provider.id_generator.generate_span_id
        self.new_trace_id = provider.id_generator.generate_trace_id
        self.new_trace_flags = _flags_of_new_traces(provider.id_generator)
        self.allows_light_spans = _follows_parent(provider.sampler)
        self.allows_light_roots = _is_plain(provider)
        self._sampler = provider.sampler
        self._drops_unsampled = _decides_with_parent(provider.sampler, "not_sampled", ALWAYS_OFF)
        self._keeps_sampled = _decides_with_parent(provider.sampler, "sampled", ALWAYS_ON)
        count = self.limits.max_span_attributes
        self.has_plain_attributes = (count is None or count >= 64) and self.limits.max_span_attribute_length is None
        self._tracers: dict[str, Tracer] = {}
        self._scopes: dict[str, InstrumentationScope] = {}
        self._processors: Any = ()
        self._starters: tuple[SpanProcessor, ...] = ()
        self._enders: tuple[SpanProcessor, ...] = ()

    def keeps(self, above: SpanContext) -> bool:
        """Whether a root below this span is recorded for certain: no sampler need be asked."""
        return self._keeps_sampled and bool(above.trace_flags & 1) and self.provider.sampler is self._sampler

    def drops(self, above: SpanContext) -> bool:
        """Whether a root below this span is not recorded for certain, so that nothing need be worked out for it."""
        return self._drops_unsampled and above.is_valid and not above.trace_flags & 1

    def tracer(self, scope: str) -> Tracer:
        """The provider's tracer of that scope; looking it up there costs as much as a span."""
        found = self._tracers.get(scope)
        if found is None:
            found = self._tracers[scope] = self.provider.get_tracer(scope, VERSION)
        return found

    def scope(self, name: str) -> InstrumentationScope:
        """The instrumentation scope of that name."""
        found = self._scopes.get(name)
        if found is None:
            found = self._scopes[name] = InstrumentationScope(name, VERSION)
        return found

    def start(self, span: LightSpan, context: Any) -> None:
        """Tell the processors that want to know of it; their errors stay out of the application."""
        for processor in self._starters:
            try:
                processor.on_start(span, parent_context=context)  # type: ignore[arg-type]
            except Exception as error:  # noqa: BLE001 - someone else's processor
                isolation.report(error, f"{type(processor).__name__}.on_start")

    def finish(self, span: LightSpan) -> None:
        """Hand an ended span to every processor."""
        span._resource = self.provider.resource
        multi = self.provider._active_span_processor
        try:
            if self._enders:
                for processor in self._enders:
                    processor._on_ending(span)  # type: ignore[arg-type]
            multi.on_end(span)
        except Exception as error:  # noqa: BLE001 - someone else's processor
            isolation.report(error, "on_end of a span processor")

    def wants_starts(self) -> bool:
        """Whether a processor wants to know of starts: those clew and the SDK bring do not."""
        multi = self.provider._active_span_processor
        processors = getattr(multi, "_span_processors", ())
        if processors is not self._processors:
            heard = [p for p in processors if not getattr(p, "is_silent_on_light_spans", False)]
            self._starters = tuple(p for p in heard if _method(p, "on_start") not in _SILENT)
            self._enders = tuple(p for p in heard if _method(p, "_on_ending") not in _SILENT_ENDING)
            self._processors = processors
        return bool(self._starters)


def _is_plain(provider: TracerProvider) -> bool:
    """Whether the provider makes spans as the SDK's does: no subclass of its own, no metrics about spans."""
    counts_spans = os.environ.get("OTEL_PYTHON_SDK_INTERNAL_METRICS_ENABLED", "").strip().lower() == "true"
    has_configurator = bool(os.environ.get("OTEL_PYTHON_TRACER_CONFIGURATOR"))
    return type(provider).get_tracer is TracerProvider.get_tracer and not counts_spans and not has_configurator


def _flags_of_new_traces(generator: Any) -> int:
    is_random = getattr(generator, "is_trace_id_random", None)  # from SDK 1.44 on
    return 2 if is_random is not None and is_random() else 0


def _decides_with_parent(sampler: Any, parent: str, decision: Any) -> bool:
    """Whether the child of a sampled, or unsampled, parent of any process is always decided on like this."""
    return (
        isinstance(sampler, ParentBased)
        and type(sampler).should_sample is ParentBased.should_sample
        and getattr(sampler, f"_local_parent_{parent}") is decision
        and getattr(sampler, f"_remote_parent_{parent}") is decision
    )


def _method(processor: SpanProcessor, name: str) -> Any:
    return getattr(type(processor), name, None)


def _follows_parent(sampler: Any) -> bool:
    """Whether a local, sampled parent's child is always sampled."""
    if sampler is ALWAYS_ON:
        return True
    return (
        isinstance(sampler, ParentBased)
        and type(sampler).should_sample is ParentBased.should_sample
        and sampler._local_parent_sampled is ALWAYS_ON
    )
