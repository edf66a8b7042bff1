"""The provider spans are exported by: the one that is there, or one made from the standard `OTEL_*` variables.

Transport is upstream's (BatchSpanProcessor, OTLP over gRPC or HTTP). Three things are ours: an exit that waits at most
some seconds for a collector that is down (upstream's `force_flush` ignores its timeout, opentelemetry-python #4568), a
`process.pid` that is right after a fork, and the fast encoding.
"""

from __future__ import annotations

import os
import time
import weakref
from collections.abc import Callable, Iterable
from importlib.metadata import entry_points
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor, SpanExporter
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, ParentBased, Sampler

from clew.core import flush, green
from clew.core.flush import bounded_flush as bounded_flush
from clew.engine import isolation
from clew.engine.seam import Patch, Seam
from clew.export import encoding, forks, losses
from clew.version import VERSION

_GRACE_SECONDS = 0.2
_PROTOCOLS = {"grpc": "otlp_proto_grpc", "http/protobuf": "otlp_proto_http"}
_KNOWN_SAMPLERS = [
    "always_on",
    "always_off",
    "parentbased_always_on",
    "parentbased_always_off",
    "traceidratio",
    "parentbased_traceidratio",
]
_described: weakref.WeakSet[TracerProvider] = weakref.WeakSet()
_lent: weakref.WeakKeyDictionary[TracerProvider, list[SpanProcessor]] = weakref.WeakKeyDictionary()


def obtain(service_name: str) -> TracerProvider | None:
    """The global provider, with an exporter; made and set if there is none.

    Args:
        service_name: `service.name` of a provider that is made here; empty: OTEL_SERVICE_NAME, else a default.

    Returns:
        The provider; None (and a line that says so) where it is not the SDK's and takes no span processors.
    """
    found = trace.get_tracer_provider()
    if isinstance(found, trace.ProxyTracerProvider):
        found = TracerProvider(
            sampler=_sampler(), resource=_resource(service_name), id_generator=_id_generator(), shutdown_on_exit=False
        )
        trace.set_tracer_provider(found)
    if not isinstance(found, TracerProvider):
        isolation.warn(
            f"clew: the tracer provider {type(found).__name__} is not the OpenTelemetry SDK's; clew needs that one "
            "and stays off"
        )
        return None
    _describe(found)
    if not _exports(found):
        _lend(found, [BatchSpanProcessor(exporter) for exporter in _exporters()])
    return found


def _describe(provider: TracerProvider) -> None:
    """Say which distribution and which process a provider's spans come from; a distro's own does not."""
    _described.add(provider)
    known = dict(provider.resource.attributes)
    distribution = {"telemetry.distro.name": "clew", "telemetry.distro.version": VERSION}
    _merge(provider, {**({} if "telemetry.distro.name" in known else distribution), "process.pid": os.getpid()})


def _merge(provider: TracerProvider, attributes: dict[str, Any]) -> None:
    provider._resource = provider._resource.merge(Resource(attributes))
    for tracer in list(getattr(provider, "_tracers", {}).values()):
        tracer.resource = provider._resource


def _exports(provider: TracerProvider) -> bool:
    processors = _processors(provider)
    return any(isinstance(each, (BatchSpanProcessor, SimpleSpanProcessor)) for each in processors)


def _processors(provider: TracerProvider) -> tuple[SpanProcessor, ...]:
    return tuple(getattr(provider._active_span_processor, "_span_processors", ()))


def _lend(provider: TracerProvider, processors: list[SpanProcessor]) -> None:
    for processor in processors:
        provider.add_span_processor(processor)
    _lent.setdefault(provider, []).extend(processors)


def lend(provider: TracerProvider, processors: list[SpanProcessor]) -> None:
    """Add processors that `release` takes out again."""
    _lend(provider, processors)


def release(provider: TracerProvider, timeout_millis: float = 2000) -> None:
    """Stop what clew added to the provider and take it out; what others added stays and works on."""
    ours = _lent.pop(provider, [])
    for processor in ours:
        _stop(processor, timeout_millis)
    remove(provider, ours)


def remove(provider: TracerProvider, processors: list[SpanProcessor]) -> None:
    """Take processors out of a provider; the SDK has only the way in."""
    multi: Any = provider._active_span_processor
    with multi._lock:
        multi._span_processors = tuple(each for each in multi._span_processors if each not in processors)


def _stop(processor: SpanProcessor, timeout_millis: float) -> None:
    batch = getattr(processor, "_batch_processor", None)
    if batch is not None:
        _stop_batch(batch, timeout_millis)
        return
    try:
        processor.shutdown()
    except Exception as error:  # noqa: BLE001 - an exporter's own trouble
        isolation.report(error, f"shutdown of {type(processor).__name__}")


def _stop_batch(batch: Any, timeout_millis: float) -> None:
    try:
        batch.shutdown(timeout_millis)
    except Exception as error:  # noqa: BLE001 - an exporter's own trouble
        isolation.report(error, f"shutdown of {type(batch).__name__}")


def stop_in_time(provider: TracerProvider) -> None:
    """At the exit of a process: send what is queued, without waiting longer for a collector than the settings say.

    No thread can be started at that moment (Python 3.12), so the batch processor's own thread does it. Also those that
    clew did not make: the SDK's own exit handler comes later, and finds nothing left to wait for.
    """
    exports = flush.State.exports
    with flush.leaving() as until:
        for batch in flush.batches(provider):
            if _is_unreachable(batch, (flush.State.until_reached or until) - time.monotonic()):
                flush.State.has_no_connection = True
                until = min(until, time.monotonic() + _GRACE_SECONDS)
            _stop_batch(batch, max(until - time.monotonic(), 0) * 1000)
            batch._worker_thread.join(_GRACE_SECONDS)  # its export may return now, and say what became of it
        if exports is not None:
            exports.lose(provider)
    for processor in _lent.get(provider, []):
        if getattr(processor, "_batch_processor", None) is None:
            _stop(processor, 0)


def _is_unreachable(batch: Any, timeout: float) -> bool:
    endpoint = getattr(batch._exporter, "_endpoint", None)
    if not endpoint or not (batch._queue or losses.is_sending(batch._exporter)):
        return False
    return not losses.can_connect(str(endpoint), timeout, is_numeric=True)


def _instead(encoder: Any) -> Callable[[Any], Any]:
    return lambda _: encoder


# A seam although it opens no span: patched when an exporter is imported, undone with the others.
ENCODING = Seam(
    "export.encoding",
    tuple(
        Patch(module, "encode_spans", _instead(encoder), is_optional=True)
        for module, encoder in encoding.ENCODERS.items()
    ),
)


def _resource(service_name: str) -> Resource:
    resource = Resource.create({"service.name": service_name} if service_name else {})
    if str(resource.attributes.get("service.name", "")).startswith("unknown_service"):
        project = os.environ.get("DJANGO_SETTINGS_MODULE", "").partition(".")[0]
        if project:
            return resource.merge(Resource({"service.name": project}))
    return resource


def _before_fork() -> None:
    forks.hold(list(_described))


def _after_fork() -> None:
    losses.forget()
    pid = {"process.pid": os.getpid()}
    for provider in list(_described):
        _merge(provider, pid)
        forks.renew(provider)
    if _described:
        forks.renew_metrics(Resource(pid))


os.register_at_fork(before=_before_fork, after_in_parent=forks.let_go, after_in_child=_after_fork)


def _exporters() -> Iterable[SpanExporter]:
    names = os.environ.get("OTEL_TRACES_EXPORTER") or "otlp"
    for name in (each.strip() for each in names.split(",")):
        if name.lower() in ("", "none"):
            continue
        try:
            yield _load("opentelemetry_traces_exporter", _protocol_of(name))()
        except Exception as error:  # noqa: BLE001 - an exporter that cannot be made must not stop the application
            isolation.warn(
                f"clew: the exporter {name!r} (OTEL_TRACES_EXPORTER) could not be made: {error}; its spans are not sent"
            )


def _protocol_of(name: str) -> str:
    if name != "otlp":
        return name
    protocol = os.environ.get("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL") or os.environ.get("OTEL_EXPORTER_OTLP_PROTOCOL")
    chosen = (protocol or "").strip() or _default_protocol()
    if chosen == "grpc" and (library := green.patched_by()):
        isolation.warn(
            f"clew: exports over gRPC stop every greenlet of {library} until the collector answers; set "
            "OTEL_EXPORTER_OTLP_PROTOCOL=http/protobuf (and the collector's HTTP port, 4318, in the endpoint)"
        )
    if chosen not in _PROTOCOLS:
        raise ValueError(f"OTEL_EXPORTER_OTLP_PROTOCOL={chosen!r} is not one of {', '.join(_PROTOCOLS)}")
    return _PROTOCOLS[chosen]


def _default_protocol() -> str:
    """gRPC; among greenlets HTTP, unless an endpoint is set, which then is one for gRPC."""
    is_endpoint_set = any(os.environ.get(f"OTEL_EXPORTER_OTLP_{name}ENDPOINT") for name in ("", "TRACES_"))
    return "http/protobuf" if green.patched_by() and not is_endpoint_set else "grpc"


def _sampler() -> Sampler | None:
    name = os.environ.get("OTEL_TRACES_SAMPLER", "").strip()
    if not name or name.lower() in _KNOWN_SAMPLERS:
        return None  # the SDK reads it
    try:
        sampler = _load("opentelemetry_traces_sampler", name)(os.environ.get("OTEL_TRACES_SAMPLER_ARG"))
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
        return _load("opentelemetry_id_generator", name)()
    except Exception as error:  # noqa: BLE001 - a generator that cannot be made must not stop the application
        isolation.warn(f"clew: OTEL_PYTHON_ID_GENERATOR={name!r} could not be used ({error}); ids are random")
        return None


def _load(group: str, name: str) -> Any:
    for entry in entry_points(group=group, name=name):
        return entry.load()
    raise LookupError(f"no installed package provides it (entry point {group}, name {name})")
