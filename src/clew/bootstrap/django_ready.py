"""The end of `django.setup()`: Django's settings can be read, and the application's classes are there to be patched."""

from __future__ import annotations

import functools
import importlib
import sys
from collections.abc import Callable
from typing import Any

from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around
from clew.seams import seams

_on_ready: Callable[[], None] | None = None


def install(on_ready: Callable[[], None]) -> None:
    """Have `on_ready` called when Django is set up, before the seams are told."""
    global _on_ready
    _on_ready = on_ready
    DJANGO_READY.install()


def uninstall() -> None:
    """Undo what `install` and `notify_seams` did."""
    global _on_ready
    _on_ready = None
    DJANGO_READY.uninstall()


def is_ready() -> bool:
    """Whether `django.setup()` is over."""
    return getattr(getattr(sys.modules.get("django.apps"), "apps", None), "ready", False)


def notify_seams() -> None:
    """Let the seams patch what the application has brought; they look again around the first request."""
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


def _populated(registry: Any, /) -> None:
    """Migrations populate registries of their own."""
    if _on_ready is None or not registry.ready or registry is not sys.modules["django.apps"].apps:
        return
    _on_ready()
    notify_seams()


DJANGO_READY = Seam("django.ready", (Patch("django.apps.registry", "Apps.populate", Around(note=_populated)),))
