"""`setup_tracing()`: settings -> provider and exporter -> processors -> seams; once, and undoable."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
from collections.abc import Iterator, Mapping
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_ON

from clew import settings as settings_module
from clew.bootstrap import delivery, django_ready
from clew.bootstrap.wiring import Wiring, wire
from clew.engine import exits, flush, isolation, needs
from clew.export import provider as providers
from clew.settings import Resolved, SettingsError

_lock = threading.RLock()
_active: Tracing | None = None


class Tracing:
    """The handle `setup_tracing()` returns.

    Args:
        resolved: the settings in force, with their sources.
        arguments: those of them that were given in code.
    """

    def __init__(self, resolved: Resolved, arguments: Mapping[str, Any]) -> None:
        self.resolved = resolved
        self._arguments = arguments
        self._wiring: Wiring | None = None

    @property
    def provider(self) -> TracerProvider | None:
        """The SDK's provider; None where tracing is off."""
        return self._wiring.provider if self._wiring is not None else None

    @property
    def is_active(self) -> bool:
        """Whether this handle's seams are installed."""
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
            if self._wiring is not None:
                exits.uninstall()
                self.force_flush(2000)
                self._wiring.take_down()

    def _install(self, provider: TracerProvider | None, *, is_automatic: bool) -> None:
        settings = self.resolved.settings
        self._wiring = wire(provider, settings, is_automatic=is_automatic)
        if self._wiring is not None:
            django_ready.install(self._django_is_ready)
            self._wiring.apply(settings)
            needs.watch()
            exits.install(_flush_at_exit)

    @contextlib.contextmanager
    def lent_to_test(self, settings: Mapping[str, Any]) -> Iterator[TracerProvider]:
        """The provider, with these settings, everything sampled and nothing exported, while a test runs."""
        wiring = self._wiring
        assert wiring is not None
        provider, deliver, wiring.deliver = wiring.provider, wiring.deliver, None
        sampler, provider.sampler = provider.sampler, ALWAYS_ON
        exporting = delivery.exporting(provider)
        providers.take_out(provider, exporting)
        try:
            with _lock:
                wiring.apply(settings_module.resolve({**self._arguments, **settings}, _django_settings()).settings)
            yield provider
        finally:
            provider.sampler, wiring.deliver = sampler, deliver
            for processor in exporting:
                provider.add_span_processor(processor)
            with _lock:
                if _active is self:
                    wiring.apply(self.resolved.settings)

    def _django_is_ready(self) -> None:
        """Django's settings can be read now: apply what `CLEW = {...}` in them says."""
        with _lock:
            self._take({})

    def _take(self, arguments: Mapping[str, Any]) -> None:
        """Apply what further arguments, or settings that can be read by now, change."""
        if _active is not self or self._wiring is None:
            return
        self._arguments = {**self._arguments, **arguments}
        resolved = settings_module.resolve(self._arguments, _django_settings())
        for problem in resolved.problems:
            isolation.warn(problem)
        if resolved.settings != self.resolved.settings:
            self.resolved = resolved
            self._wiring.apply(resolved.settings)


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
    """The handle of the set-up that is in effect, if there is one."""
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
        tracing = Tracing(resolved, arguments)
        if resolved.settings.enabled and os.environ.get("OTEL_SDK_DISABLED", "").strip().lower() != "true":
            tracing._install(provider, is_automatic=not is_strict)
        _active = tracing
        return tracing


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
