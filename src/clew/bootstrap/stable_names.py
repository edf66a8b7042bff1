"""The stable names of attributes (`http.*`, `db.*`), unless the site has chosen: contrib's default is the old ones."""

from __future__ import annotations

import os
import sys
from typing import Any

from clew.engine import needs

_OPT_IN, _STABLE = "OTEL_SEMCONV_STABILITY_OPT_IN", "http,database"
_SEMCONV, _STABILITY = "opentelemetry.instrumentation._semconv", "_OpenTelemetrySemanticConventionStability"
needs.declare(
    __name__,
    *needs.functions(_SEMCONV, f"{_STABILITY}._initialized", f"{_STABILITY}._initialize"),
    consequence="instrumentations that were set up before clew keep the old names of attributes",
)


def prefer() -> None:
    """Choose them. contrib reads the variable once, perhaps before clew came: then it reads it again."""
    if _OPT_IN in os.environ:
        return
    os.environ[_OPT_IN] = _STABLE
    stability: Any = getattr(sys.modules.get(_SEMCONV), _STABILITY, None)
    if getattr(stability, "_initialized", False):
        stability._initialized = False
        stability._initialize()
