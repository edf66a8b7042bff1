"""Entry point `opentelemetry_pre_instrument`: clew under `opentelemetry-instrument`, beside any distribution.

We stand before the instrumentors, because contrib's for Django and Celery import what they instrument. A server that
replaces threads by greenlets (gunicorn's gevent worker, gevent.pywsgi, eventlet) has not done so yet, and Django's
database connections would belong to threads that are none. So these instrumentors wait until the application has come
so far. An error here would keep every instrumentor from loading, so none leaves.
"""

from __future__ import annotations

import functools
import logging
import os
import sys
from collections.abc import Callable, Iterator
from typing import Any

from clew.engine import isolation
from clew.engine.log import log
from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around

_DISTRO = "opentelemetry.instrumentation.distro"


def pre_instrument() -> None:
    """Set up tracing. Never raises; what goes wrong is one line in the log."""
    disabled = os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "")
    if "clew" in [name.strip() for name in disabled.split(",")]:
        return
    try:
        from clew.engine import green

        green.patch_as_celery_would()
        from clew.bootstrap import setup_automatically

        if setup_automatically().is_active:
            put_off()
    except Exception as error:  # noqa: BLE001 - nothing may keep the application from starting
        log(
            logging.ERROR,
            "clew: tracing could not be set up, the application runs without it: %s: %s",
            type(error).__name__,
            error,
        )


class _Waiting:
    """Instrumentors that wait, by the name of their entry point."""

    calls: dict[str, list[Callable[[], Any]]] = {}


def put_off() -> None:
    """Let the instrumentors of Django and Celery wait until `django.setup()` is over, and a Celery app is made."""
    _Waiting.calls = {name: [] for name, module in _LIBRARIES.items() if module not in sys.modules}
    for seam in (DISTRO, DJANGO, CELERY):
        seam.install()
    # A distribution may load instrumentors in a way of its own.
    for kind in _distributions(sys.modules[_DISTRO].BaseDistro):
        if "load_instrumentor" in vars(kind):
            DISTRO.patch_attribute(kind, "load_instrumentor", _LOADING)


def _distributions(kind: type) -> Iterator[type]:
    each: type
    for each in kind.__subclasses__():
        yield each
        yield from _distributions(each)


def _wait(distro: Any, /, entry_point: Any, keywords: dict[str, Any], positional: tuple[Any, ...]) -> Any:
    waiting = _Waiting.calls.get(getattr(entry_point, "name", ""))
    if waiting is None:
        return NotImplemented
    waiting.append(functools.partial(distro.load_instrumentor, *positional[1:], **keywords))
    return None


def _load(name: str) -> None:
    """Instrument with what has been waiting for this part of the application."""
    for call in _Waiting.calls.pop(name, ()):
        try:
            call()
        except Exception as error:  # noqa: BLE001 - theirs, as OpenTelemetry treats it
            isolation.warn(f"clew: the instrumentor of {name} could not be loaded: {error!r}")


def _django_is_ready(registry: Any, /) -> None:
    if registry.ready and registry is sys.modules["django.apps"].apps:
        _load("django")


def _celery_is_ready() -> None:
    _load("celery")


_LIBRARIES = {"django": "django.core.handlers.base", "celery": "celery.app.base"}
_LOADING = Around(instead=_wait)
DISTRO = Seam("autoload", (Patch(_DISTRO, "BaseDistro.load_instrumentor", _LOADING),))
DJANGO = Seam("autoload.django", (Patch("django.apps.registry", "Apps.populate", Around(note=_django_is_ready)),))
CELERY = Seam("autoload.celery", (Patch("celery.app.base", "Celery.__init__", Around(note=_celery_is_ready)),))
