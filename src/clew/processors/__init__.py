"""The span processors: they annotate and redact what passes, in any order, on any provider."""

from __future__ import annotations

from opentelemetry.sdk.trace import SpanProcessor

from clew.processors.annotate import AnnotateProcessor
from clew.processors.detect import DetectProcessor
from clew.processors.redact import RedactProcessor

__all__ = ["AnnotateProcessor", "DetectProcessor", "RedactProcessor", "processors"]


def processors() -> list[SpanProcessor]:
    """New instances of every processor."""
    return [AnnotateProcessor(), DetectProcessor(), RedactProcessor()]
