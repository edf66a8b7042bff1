"""The seams: one file is one place in Django or Celery where we stand. This tuple is the only list."""

from __future__ import annotations

import functools
import importlib

from clew.engine import isolation
from clew.engine.seam import Seam

SEAMS = (
    "django.request",
    "django.middleware",
    "django.urls",
    "django.view",
    "django.template",
    "django.jinja2",
    "django.auth",
    "django.async_bridge",
    "django.database",
    "django.transaction",
    "django.server",
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
    missing: set[str] = set()
    for name in SEAMS:
        try:
            found.append(importlib.import_module(f"clew.seams.{name}").SEAM)
        except ModuleNotFoundError as error:
            library = (error.name or "").partition(".")[0]
            if library in ("django", "celery", "kombu", "billiard", "vine"):
                missing.add(library)
            else:
                isolation.report(error, f"seam {name}")
        except Exception as error:  # noqa: BLE001 - one broken seam must not keep the others from standing
            isolation.report(error, f"seam {name}")
    for library in sorted(missing):
        isolation.warn(f"clew: {library} is not installed, so it is not traced (pip install {library})")
    return tuple(found)
