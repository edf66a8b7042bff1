"""The provider spans are exported by: the one that is there, or one made from the standard `OTEL_*` variables.

A provider that somebody else has made keeps its own exporter; clew adds its processors to it, and no more. The one that
`opentelemetry-instrument` has just made from the same variables, by OpenTelemetry's own distribution, is nobody's yet:
its batch processors step aside for clew's (docs/rationale.md).
"""

from __future__ import annotations

import os
import sys
import weakref
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler

from clew.engine import isolation
from clew.engine.seam import Patch, Seam
from clew.export import encoding, resources
from clew.export.exporters import load
from clew.export.outgoing import renew_connections

_KNOWN_SAMPLERS = [
    "always_on",
    "always_off",
    "parentbased_always_on",
    "parentbased_always_off",
    "traceidratio",
    "parentbased_traceidratio",
]
_aside: weakref.WeakKeyDictionary[TracerProvider, list[SpanProcessor]] = weakref.WeakKeyDictionary()
_lent: weakref.WeakKeyDictionary[TracerProvider, list[SpanProcessor]] = weakref.WeakKeyDictionary()


def is_missing() -> bool:
    """Whether nobody has made the global provider."""
    return isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider)


def obtain(service_name: str) -> TracerProvider | None:
    """The global provider; made and set if there is none.

    Args:
        service_name: `service.name` of a provider that is made here; empty: OTEL_SERVICE_NAME, else a default.

    Returns:
        The provider; None (and a line that says so) where it is not the SDK's and takes no span processors.
    """
    found = trace.get_tracer_provider()
    if is_missing():
        found = TracerProvider(
            sampler=_sampler(),
            resource=resources.of_project(service_name),
            id_generator=_id_generator(),
            shutdown_on_exit=False,
        )
        trace.set_tracer_provider(found)
    if not isinstance(found, TracerProvider):
        isolation.warn(
            f"clew: the tracer provider {type(found).__name__} is not the OpenTelemetry SDK's; clew needs that one "
            "and stays off"
        )
        return None
    resources.describe(found)
    return found


def has_processors(provider: TracerProvider) -> bool:
    """Whether somebody has given the provider a processor: then the export is theirs."""
    multi = getattr(provider, "_active_span_processor", None)
    ours = _lent.get(provider, [])
    return any(each not in ours for each in getattr(multi, "_span_processors", (None,)))


def step_aside(provider: TracerProvider) -> bool:
    """Take out the batch processors OpenTelemetry's own distribution has made, until `release`; whether it could."""
    multi = getattr(provider, "_active_span_processor", None)
    found = getattr(multi, "_span_processors", ())
    if "opentelemetry.distro" not in sys.modules or type(provider) is not TracerProvider or not found:
        return False
    if not all(type(each) is BatchSpanProcessor and _is_otlp(each) for each in found):
        return False
    _aside[provider] = list(found)
    take_out(provider, list(found))
    for processor in found:
        channel = getattr(getattr(processor, "span_exporter", None), "_channel", None)
        if channel is not None:
            channel.close()  # its threads would be in every child of a server that forks
    return True


def _is_otlp(processor: SpanProcessor) -> bool:
    return type(getattr(processor, "span_exporter", None)).__module__ in encoding.ENCODERS


def lend(provider: TracerProvider, processors: list[SpanProcessor]) -> None:
    """Add processors that `release` takes out again."""
    for processor in processors:
        provider.add_span_processor(processor)
    _lent.setdefault(provider, []).extend(processors)


def release(provider: TracerProvider) -> None:
    """Stop what clew added to the provider and take it out; what others added stays and works on."""
    ours = _lent.pop(provider, [])
    for processor in ours:
        try:
            processor.shutdown()
        except Exception as error:  # noqa: BLE001 - the next one is stopped all the same
            isolation.report(error, f"shutdown of {type(processor).__name__}")
    take_out(provider, ours)
    for processor in _aside.pop(provider, []):
        renew_connections(getattr(processor, "span_exporter", None), [])
        provider.add_span_processor(processor)


def take_out(provider: TracerProvider, processors: list[SpanProcessor]) -> None:
    """Take processors out of a provider; the SDK has only the way in."""
    multi: Any = getattr(provider, "_active_span_processor", None)
    if hasattr(multi, "_span_processors") and hasattr(multi, "_lock"):
        with multi._lock:
            multi._span_processors = tuple(each for each in multi._span_processors if each not in processors)


def _instead(encoder: Any) -> Any:
    return lambda _: encoder


# A seam although it opens no span: patched when an exporter is imported, undone with the others.
ENCODING = Seam(
    "export.encoding",
    tuple(Patch(module, "encode_spans", _instead(encoder)) for module, encoder in encoding.ENCODERS.items()),
)


def _sampler() -> Sampler | None:
    name = os.environ.get("OTEL_TRACES_SAMPLER", "").strip()
    if not name or name.lower() in _KNOWN_SAMPLERS:
        return None  # the SDK reads it
    try:
        sampler = load("opentelemetry_traces_sampler", name)(os.environ.get("OTEL_TRACES_SAMPLER_ARG"))
        if isinstance(sampler, Sampler):
            return sampler
        raise TypeError(f"it made a {type(sampler).__name__}")
    except Exception as error:  # noqa: BLE001 - a sampler that cannot be made must not stop the application
        isolation.warn(f"clew: OTEL_TRACES_SAMPLER={name!r} could not be used ({error}); every trace is sampled")
        return ParentBased(ALWAYS_ON)


def _id_generator() -> Any:
    name = os.environ.get("OTEL_PYTHON_ID_GENERATOR", "random").strip()
    if name == "random":
        return None
    try:
        return load("opentelemetry_id_generator", name)()
    except Exception as error:  # noqa: BLE001 - a generator that cannot be made must not stop the application
        isolation.warn(f"clew: OTEL_PYTHON_ID_GENERATOR={name!r} could not be used ({error}); ids are random")
        return None
