"""`setup_tracing()`: settings -> provider and exporter -> processors -> seams; once, and undoable.

Everything is wired here and nowhere else: seams, processors and exporters do not know of each other.
"""

from __future__ import annotations

import contextlib
import functools
import importlib
import logging
import os
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from opentelemetry.sdk.trace import SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SimpleSpanProcessor
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from clew import settings as settings_module
from clew import span_names
from clew.detectors import detectors, unknown_detectors
from clew.engine import configuration, exits, flush, isolation, needs, redaction
from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around
from clew.export import provider as providers
from clew.export import resources, signals
from clew.export.exporters import exporters
from clew.export.losses import Losses
from clew.processors import processors
from clew.processors.deliver import DeliverProcessor, Limits
from clew.processors.redact_signals import SIGNALS
from clew.seams import seams
from clew.settings import Resolved, Settings, SettingsError
from clew.source import frames
from clew.spans import scope as spans
from clew.spans.pipeline import Pipeline
from clew.story import detector

logger = logging.getLogger("clew")

_lock = threading.RLock()
_active: Tracing | None = None
_RELOADED_DELAY_MS = 500
_OPT_IN, _STABLE = "OTEL_SEMCONV_STABILITY_OPT_IN", "http,database"
_SEMCONV, _STABILITY = "opentelemetry.instrumentation._semconv", "_OpenTelemetrySemanticConventionStability"
needs.declare(
    __name__,
    *needs.functions(_SEMCONV, f"{_STABILITY}._initialized", f"{_STABILITY}._initialize"),
    consequence="instrumentations that were set up before clew keep the old names of attributes",
)


class Tracing:
    """The handle `setup_tracing()` returns.

    Args:
        provider: the SDK's provider, or None where tracing is off.
        resolved: the settings in force, with their sources.
    """

    def __init__(self, provider: TracerProvider | None, resolved: Resolved, arguments: Mapping[str, Any]) -> None:
        self.provider = provider
        self.resolved = resolved
        self._arguments = arguments
        self._processors: list[Any] = []
        # Under `opentelemetry-instrument`: nobody has touched the provider yet.
        self.is_automatic = False
        # Takes clew's own spans; None where somebody else exports.
        self.deliver: Callable[[Sequence[Any]], None] | None = None

    @property
    def is_active(self) -> bool:
        """Whether this handle's seams stand."""
        return _active is self and self.provider is not None

    def force_flush(self, timeout_millis: float = 30_000) -> bool:
        """Send what is queued.

        Args:
            timeout_millis: the longest this may take, in milliseconds. (The SDK's own ignores it,
                opentelemetry-python #4568.)

        Returns:
            True when everything was handed to the exporter in time.
        """
        return self.provider is None or flush.bounded_flush(self.provider, timeout_millis)

    def shutdown(self) -> None:
        """Undo every patch, send what is queued (2 s at most), and stop clew's processors.

        A provider that clew made is shut down; one that was there before stays as it is, its own processors untouched.
        """
        global _active
        with _lock:
            if _active is not self:
                return
            _active = None
            _uninstall(self)

    @contextlib.contextmanager
    def lent_to_test(self, settings: Mapping[str, Any]) -> Iterator[TracerProvider]:
        """The provider, with these settings, everything sampled and nothing exported, while a test runs."""
        provider, resolved, deliver = self.provider, self.resolved, self.deliver
        assert provider is not None
        sampler, provider.sampler = provider.sampler, ALWAYS_ON
        exporting = _exporting(provider)
        providers.take_out(provider, exporting)
        self.deliver = None
        try:
            with _lock:
                _apply(self, settings_module.resolve({**self._arguments, **settings}, _django_settings()))
            yield provider
        finally:
            provider.sampler, self.deliver = sampler, deliver
            for processor in exporting:
                provider.add_span_processor(processor)
            with _lock:
                if _active is self:
                    _apply(self, resolved)

    def _django_is_ready(self) -> None:
        """Django's settings can be read now: apply what `CLEW = {...}` in them says."""
        with _lock:
            self._take({})

    def _take(self, arguments: Mapping[str, Any]) -> None:
        """Apply what further arguments, or settings that can be read by now, change."""
        if _active is not self or self.provider is None:
            return
        self._arguments = {**self._arguments, **arguments}
        resolved = settings_module.resolve(self._arguments, _django_settings())
        for problem in resolved.problems:
            isolation.warn(problem)
        if resolved.settings != self.resolved.settings:
            self.resolved = resolved
            _apply(self, resolved)


def setup_tracing(
    service_name: str | None = None, *, tracer_provider: TracerProvider | None = None, **settings: Any
) -> Tracing:
    """Set up tracing for this process: provider, exporter, processors, seams.

    Call it as early as you can: in settings.py, wsgi.py, asgi.py, manage.py or celery.py, before or after
    `django.setup()`. A second call returns the first one's handle; settings it gives anew are applied.

    Args:
        service_name: `service.name` of the resource (OTEL_SERVICE_NAME does the same).
        tracer_provider: the provider to use; by default the global one, which is made if there is none. A provider
            that is there is added to, never replaced.
        **settings: any field of `clew.settings.Settings`.

    Returns:
        A handle with `force_flush()` and `shutdown()`.

    Raises:
        SettingsError: a setting does not exist or has the wrong type.
    """
    if service_name is not None:
        settings["service_name"] = service_name
    return _setup(settings, tracer_provider, is_strict=True)


def setup_automatically() -> Tracing:
    """`setup_tracing()` for `opentelemetry-instrument`: what is wrong with a setting is a warning."""
    return _setup({}, None, is_strict=False)


def active() -> Tracing | None:
    """The handle in force, if any."""
    return _active


def _setup(arguments: dict[str, Any], provider: TracerProvider | None, *, is_strict: bool) -> Tracing:
    global _active
    with _lock:
        resolved = settings_module.resolve(arguments, _django_settings())
        if resolved.problems and is_strict:
            raise SettingsError("\n".join(resolved.problems))
        for problem in resolved.problems:
            isolation.warn(problem)
        if _active is not None:
            _active._take(arguments)
            return _active
        tracing = Tracing(None, resolved, arguments)
        tracing.is_automatic = not is_strict
        if resolved.settings.enabled and not _is_sdk_disabled():
            _install(tracing, provider)
        _active = tracing
        return tracing


def _is_sdk_disabled() -> bool:
    return os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() == "true"


def _install(tracing: Tracing, provider: TracerProvider | None) -> None:
    _prefer_stable_names()
    is_ours = provider is None
    is_made_here = is_ours and providers.is_missing()
    provider = provider or providers.obtain(tracing.resolved.settings.service_name)
    if provider is None:
        return
    tracing.provider = provider
    for seam in (providers.ENCODING, *SIGNALS):
        seam.install()
    if is_made_here or signals.is_ours(provider):
        signals.install(provider, is_automatic=tracing.is_automatic)
        flush.close_signals = signals.close
    tracing._processors = processors()
    if is_ours and (
        not providers.has_processors(provider) or (tracing.is_automatic and providers.step_aside(provider))
    ):
        queues = tuple(_delivering())
        flush.queues = queues
        tracing._processors += queues
        tracing.deliver = queues[0].take if len(queues) == 1 else functools.partial(_take, queues)
    providers.lend(provider, tracing._processors)
    DJANGO_READY.install()
    _apply(tracing, tracing.resolved)
    needs.watch()
    exits.install(_flush_at_exit)


def _exporting(provider: TracerProvider) -> list[SpanProcessor]:
    """The processors that send spans somewhere, anybody's."""
    multi: Any = getattr(provider, "_active_span_processor", None)
    kinds = (BatchSpanProcessor, SimpleSpanProcessor, DeliverProcessor)
    return [each for each in getattr(multi, "_span_processors", ()) if isinstance(each, kinds)]


def _take(queues: tuple[DeliverProcessor, ...], spans: Sequence[Any]) -> None:
    for queue in queues:
        queue.take(spans)


def _delivering() -> Iterator[DeliverProcessor]:
    """What sends spans where nobody else does, within the bounds of `OTEL_BSP_*`."""
    limits = Limits(
        queue_size=_number("OTEL_BSP_MAX_QUEUE_SIZE", Limits.queue_size),
        batch_size=_number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", Limits.batch_size),
        delay_ms=_number("OTEL_BSP_SCHEDULE_DELAY", int(Limits.delay_ms)),
    )
    for outgoing in exporters():
        queue = DeliverProcessor(outgoing, Losses(outgoing.endpoint), limits)
        if os.environ.get("RUN_MAIN") == "true":  # `runserver`: its parent ends it by SIGKILL
            queue.export_every(_RELOADED_DELAY_MS)
        yield queue


def _number(name: str, default: int) -> int:
    given = os.environ.get(name, "").strip()
    if not given:
        return default
    if given.isdecimal() and int(given) > 0:
        return int(given)
    isolation.warn(f"clew: {name}={given!r} is no number above 0; {default} is used")
    return default


def _prefer_stable_names() -> None:
    """contrib's default is the old names; it reads the variable once, perhaps before we came."""
    if _OPT_IN in os.environ:
        return
    os.environ[_OPT_IN] = _STABLE
    _read_stability_again()


def _read_stability_again() -> None:
    stability: Any = getattr(sys.modules.get(_SEMCONV), _STABILITY, None)
    if getattr(stability, "_initialized", False):
        stability._initialized = False
        stability._initialize()


def _apply(tracing: Tracing, resolved: Resolved) -> None:
    assert tracing.provider is not None
    settings = resolved.settings
    configuration.settings = settings
    redaction.configure(settings.redact_names)
    span_names.configure(settings.span_names)
    resources.redact()
    if not settings.enabled:
        _uninstall_seams()
        spans.install(None)
        detector.watch(())
        return
    _watch(settings)
    pipeline = Pipeline(tracing.provider, settings.max_spans_per_trace, tracing.deliver)
    pipeline.max_spans_per_parent = settings.max_spans_per_parent
    spans.install(pipeline)
    for seam in seams():
        if settings.is_on(seam.name):
            seam.install()
        else:
            seam.uninstall()
    if getattr(getattr(sys.modules.get("django.apps"), "apps", None), "ready", False):
        _application_is_ready()


def _application_is_ready() -> None:
    for seam in seams():
        seam.application_is_ready()
    signals = importlib.import_module("django.core.signals")
    for signal in (signals.request_started, signals.request_finished):
        signal.connect(_first_request, dispatch_uid=__name__)
        DJANGO_READY.undo_with(functools.partial(signal.disconnect, dispatch_uid=__name__))


def _first_request(signal: Any, **_: Any) -> None:
    """What the URLs import may replace places of ours, too; looked at before and after the first request."""
    signal.disconnect(dispatch_uid=__name__)
    for seam in seams():
        seam.stand_again()


def _watch(settings: Settings) -> None:
    """Have the detectors told what seams and processors see."""
    frames.forget()  # where the project lies may be known only now
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


def _uninstall(tracing: Tracing) -> None:
    exits.uninstall()
    if tracing.provider is not None:
        tracing.force_flush(2000)
    DJANGO_READY.uninstall()
    _uninstall_seams()
    spans.install(None)
    detector.watch(())
    if tracing.provider is not None:
        providers.release(tracing.provider)
    for processor in tracing._processors:
        processor.is_on = False
    for seam in (providers.ENCODING, *SIGNALS):
        seam.uninstall()
    signals.uninstall()
    flush.queues, flush.close_signals = (), None


def _uninstall_seams() -> None:
    for seam in reversed(seams()):
        seam.uninstall()


def _flush_at_exit() -> None:
    """Another provider's own exit handler comes later; it may wait 30 s and more for a collector that is down."""
    if _active is not None and _active.provider is not None:
        flush.flush_before_exit(_active.provider, is_last=True)


def _django_settings() -> Any:
    """Django's `CLEW`, if its settings have been loaded; never loads them."""
    conf = sys.modules.get("django.conf")
    lazy = getattr(conf, "settings", None)
    if lazy is None or not lazy.configured:
        return None
    return getattr(lazy, "CLEW", None)


def _populated(registry: Any, /) -> None:
    """The end of `django.setup()`; migrations populate registries of their own."""
    if _active is None or not registry.ready or registry is not sys.modules["django.apps"].apps:
        return
    _active._django_is_ready()
    _application_is_ready()


DJANGO_READY = Seam("django.ready", (Patch("django.apps.registry", "Apps.populate", Around(note=_populated)),))
