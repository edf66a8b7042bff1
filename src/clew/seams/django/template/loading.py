"""`load template page.html`: a template is found, read and compiled, where that is long; once in a process, mostly.

Each seam stands where its engine loads what its cache does not have. How long that took is noted on the next span of
the template, however short it was.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from time import time_ns
from typing import Any

from opentelemetry.trace import get_current_span

from clew import attributes as names
from clew.engine import configuration
from clew.engine.wrapper import Around
from clew.seams.django.template.facts import KnownTemplates
from clew.spans.scope import Scope

_MAX_LOADED = 1000
# Loaded and not yet rendered: the template, and milliseconds. By id: a template of the application's may be unhashable.
_loaded: dict[int, tuple[weakref.ref[Any], float]] = {}


def patch(scope: Scope, known: KnownTemplates) -> Around:
    """What stands around an engine's loading.

    Args:
        scope: the seam's.
        known: the facts of the engine's templates.
    """

    def loaded(opened: int, result: Any) -> None:
        if not (parent := get_current_span()).is_recording():
            return
        took_ms = (time_ns() - opened) / 1e6
        if len(_loaded) < _MAX_LOADED:
            _loaded[id(result)] = weakref.ref(result), took_ms
        if took_ms < configuration.settings.template_load_threshold_ms:
            return
        file = getattr(getattr(result, "origin", None), "name", None) or getattr(result, "filename", None)
        facts = known.facts(getattr(result, "name", None), file)
        attributes, _ = facts.roles["load"]
        span = scope.under(parent, f"load {facts.span_name}", None, start_ns=opened, static=attributes)
        if span is not None:
            span.close()

    return Around(lambda: time_ns(), loaded, close=lambda: None)


def tell(template: Any, note: Callable[[str, Any], None]) -> None:
    """Note on the first span of a template how long it took to be loaded."""
    if _loaded and (found := _loaded.pop(id(template), None)) is not None and found[0]() is template:
        note(names.DJANGO_TEMPLATE_LOAD_MS, round(found[1], 3))


def reset() -> None:
    """Know of no loaded template."""
    _loaded.clear()
