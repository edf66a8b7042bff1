"""The seams: one file is one place in Django or Celery where we stand. This tuple is the only list."""

from __future__ import annotations

import functools
import importlib
import importlib.util
import sys

from clew.engine import isolation
from clew.engine.seam import Seam

SEAMS = (
    "django.memory",
    "django.request",
    "django.middleware",
    "django.urls",
    "django.view",
    "django.rest",
    "django.graphql",
    "django.template",
    "django.jinja2",
    "django.auth",
    "django.session",
    "django.access",
    "django.signals",
    "django.async_bridge",
    "django.database",
    "django.transaction",
    "django.cache",
    "django.mail",
    "django.server",
    "asgi.websocket",
    "asgi.http_consumer",
    "asgi.channel_layer",
    "celery.publish",
    "celery.canvas",
    "celery.receive",
    "celery.run",
    "celery.time_limit",
    "celery.consumers",
    "celery.worker",
    "celery.green",
    "celery.fate",
    "celery.log",
    "celery.memory",
    "celery.lifecycle",
    "celery.beat",
    "celery.polling",
)


@functools.lru_cache(maxsize=1)
def seams() -> tuple[Seam, ...]:
    """Every seam whose library is installed, in the order of installation."""
    found: list[Seam] = []
    missing = {library for library in ("django", "celery") if not is_installed(library)}
    needed = {"asgi": "django"}
    for name in SEAMS:
        library = name.partition(".")[0]
        if needed.get(library, library) in missing:
            continue
        try:
            found.append(importlib.import_module(f"clew.seams.{name}").SEAM)
        except Exception as error:  # noqa: BLE001 - one broken seam must not keep the others from standing
            isolation.warn(f"clew: seam {name} cannot be imported, nothing of it is traced: {error!r} (`clew doctor`)")
    if not found:
        isolation.warn("clew: neither Django nor Celery is installed here, so nothing is traced")
    return tuple(found)


def is_installed(library: str) -> bool:
    """Whether a library can be imported; it is not."""
    try:
        return library in sys.modules or importlib.util.find_spec(library) is not None
    except (ImportError, ValueError):
        return False
