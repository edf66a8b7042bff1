"""clew: an OpenTelemetry distribution for Django + Celery."""

from clew.bootstrap import Tracing, setup_tracing
from clew.settings import Settings, SettingsError
from clew.version import VERSION as __version__

__all__ = ["Settings", "SettingsError", "Tracing", "__version__", "setup_tracing"]
