"""clew: an OpenTelemetry distribution for Django + Celery."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from clew.version import VERSION as __version__  # noqa: N811 - the name Python gives it

if TYPE_CHECKING:
    from clew.bootstrap import Tracing, setup_tracing
    from clew.settings import Settings, SettingsError

__all__ = ["Settings", "SettingsError", "Tracing", "__version__", "setup_tracing"]

_HOMES = {"Settings": "settings", "SettingsError": "settings", "Tracing": "bootstrap", "setup_tracing": "bootstrap"}


def __getattr__(name: str) -> Any:
    """Import what is asked for when it is asked for: `clew --help` needs no SDK."""
    if name not in _HOMES:
        raise AttributeError(f"module 'clew' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"clew.{_HOMES[name]}"), name)
