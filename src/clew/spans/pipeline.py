"""Where light spans go: the provider's processors, as if the SDK's own span had started and ended.

One pipeline for the provider that clew was set up with. It knows whether light spans are allowed there (only where the
sampler gives a child its parent's decision), the provider's limits, and which processors want to see a start.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.id_generator import RandomIdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF, ALWAYS_ON, ParentBased, StaticSampler, TraceIdRatioBased
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, Tracer

from clew.engine import forks, isolation, needs
from clew.version import VERSION


class EndedSpan(Protocol):
    """A light span, to a pipeline."""

    def readable(self) -> ReadableSpan:
        """It, as the SDK's exporters and processors know it."""


# These do nothing at a start or before an end; others may, and are called.
_SILENT = {SpanProcessor.on_start, BatchSpanProcessor.on_start, SimpleSpanProcessor.on_start}
_SILENT_ENDING = {
    getattr(kind, "_on_ending", None) for kind in (SpanProcessor, BatchSpanProcessor, SimpleSpanProcessor)
}
# Without the first two every processor is handed every span through the provider; without the last, light spans have
# the SDK's default limits.
_SDK = "opentelemetry.sdk.trace"
needs.declare(
    __name__,
    *needs.attributes(_SDK, "TracerProvider", "_active_span_processor", "_span_limits"),
    *needs.attributes(_SDK, "SynchronousMultiSpanProcessor", "_span_processors"),
    consequence="clew's spans have the SDK's default limits, or cost more where others process them too",
)
# Of our own, not `random`'s, which an application may have seeded, and which uWSGI's workers inherit from their master.
_random = random.Random()


@forks.renew
def _seed() -> None:
    _random.seed()


class Pipeline:
    """Hands light spans over to a provider's processors.

    Args:
        provider: the SDK's provider.
        max_spans_per_trace: spans of one request or task in this process.
        deliver: takes spans that ended together to clew's own exporters; None where the provider is somebody else's.
    """

    max_folds = 200
    max_spans_per_parent = 500

    def __init__(
        self,
        provider: TracerProvider,
        max_spans_per_trace: int = 2000,
        deliver: Callable[[Sequence[Any]], None] | None = None,
    ) -> None:
        self.provider = provider
        self.deliver = deliver
        self.limits = getattr(provider, "_span_limits", None) or SpanLimits()
        self.max_spans_per_trace = max_spans_per_trace
        self._is_random = type(provider.id_generator) is RandomIdGenerator
        self.new_id = _random_id if self._is_random else self._generated_id
        self.new_trace_flags = _flags_of_new_traces(provider.id_generator)
        self.allows_light_spans = _follows_parent(provider.sampler)
        self.allows_light_roots = _is_plain(provider)
        self._sampler = provider.sampler
        self._is_by_ids = _goes_by_ids(provider.sampler)
        self._drops_unsampled = _decides_with_parent(provider.sampler, "not_sampled", ALWAYS_OFF)
        self._keeps_sampled = _decides_with_parent(provider.sampler, "sampled", ALWAYS_ON)
        count = self.limits.max_span_attributes
        self.has_plain_attributes = (count is None or count >= 64) and self.limits.max_span_attribute_length is None
        self._tracers: dict[str, Tracer] = {}
        self._scopes: dict[str, InstrumentationScope] = {}
        self._processors: Any = None
        self._others: tuple[Any, ...] = ()
        self.starters: tuple[Any, ...] = ()
        self._enders: tuple[Any, ...] = ()
        # Whether nobody has to be told of a span before it has ended.
        self.takes_leaves = False

    def new_span_id(self) -> int:
        """An id for a span that is told before it is made."""
        return int.from_bytes(self.new_id(), "big")

    def new_trace_id(self) -> int:
        """An id for a new trace."""
        return _random.getrandbits(128) if self._is_random else self.provider.id_generator.generate_trace_id()

    def _generated_id(self) -> bytes:
        return self.provider.id_generator.generate_span_id().to_bytes(8, "big")

    def keeps(self, above: SpanContext) -> bool:
        """Whether a root below this span is recorded for certain: no sampler need be asked."""
        return self._keeps_sampled and bool(above.trace_flags & 1) and self.provider.sampler is self._sampler

    @property
    def samples_by_ids(self) -> bool:
        """Whether the sampler is one of the SDK's: they decide by the parent and the trace's id, and add nothing."""
        return self._is_by_ids and self.provider.sampler is self._sampler

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

    def start(self, span: Any, context: Any) -> None:
        """Tell the processors that want to know of it; their errors stay out of the application."""
        for processor in self.starters:
            try:
                processor.on_start(span, parent_context=context)
            except Exception as error:  # noqa: BLE001 - someone else's processor
                isolation.report(error, f"{type(processor).__name__}.on_start")

    def finish(self, spans: Sequence[EndedSpan]) -> None:
        """Hand spans that end together to every processor: to clew's own as they are, to others as ReadableSpans."""
        self.notice()
        for span in spans if self._enders else ():
            for processor in self._enders:
                try:
                    processor._on_ending(span)
                except Exception as error:  # noqa: BLE001 - someone else's processor
                    isolation.report(error, f"{type(processor).__name__}._on_ending")
        if self.deliver is not None:
            self.deliver(spans)
        for span in spans if self._others else ():
            readable = span.readable()
            for processor in self._others:
                try:
                    processor.on_end(readable)
                except Exception as error:  # noqa: BLE001 - someone else's processor
                    isolation.report(error, "on_end of a span processor")

    def notice(self) -> None:
        """Others may have added a processor; those that clew and the SDK bring want to know of no start."""
        try:
            processors = self.provider._active_span_processor._span_processors
        except AttributeError:
            self._sort(None)
        else:
            if processors is not self._processors:
                self._sort(processors)

    def _sort(self, processors: Any) -> None:
        """What the provider's processors, which may change at any time, want to be told of."""
        if processors is None:
            # Where they cannot be told apart, the provider's own processor stands for all.
            multi = getattr(self.provider, "_active_span_processor", None)
            everyone: Any = () if multi is None else (multi,)
        else:
            everyone = processors
        self._others = tuple(p for p in everyone if not getattr(p, "is_silent_on_light_spans", False))
        self.starters = tuple(p for p in self._others if _method(p, "on_start") not in _SILENT)
        self._enders = tuple(p for p in self._others if _method(p, "_on_ending") not in _SILENT_ENDING)
        is_awaited = bool(self.starters or self._enders)
        self.takes_leaves = self.allows_light_spans and self.has_plain_attributes and not is_awaited
        self._processors = processors


def _random_id() -> bytes:
    return _random.getrandbits(64).to_bytes(8, "big")


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


_BY_IDS = (StaticSampler, TraceIdRatioBased)


def _goes_by_ids(sampler: Any) -> bool:
    if getattr(type(sampler), "should_sample", None) is not ParentBased.should_sample:
        return type(sampler) in _BY_IDS
    parts = (
        "_root",
        *(f"_{where}_parent_{how}" for where in ("local", "remote") for how in ("sampled", "not_sampled")),
    )
    return all(type(getattr(sampler, part, None)) in _BY_IDS for part in parts)


def _method(processor: Any, name: str) -> Any:
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
