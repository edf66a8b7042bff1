"""Settings and tasks of test_lifecycle.py, for its own process (`declare`) and for the worker (`celery worker -I`)."""

from __future__ import annotations

import importlib
import json
import os
from typing import Any

CONF = "CELERY_SITE_CONF"


def declare(app: Any) -> None:
    app.conf.update(json.loads(os.environ.get(CONF, "{}")))

    @app.task(name="hog", shared=False)
    def hog(megabytes: int) -> int:
        return len(bytearray(megabytes << 20).replace(b"\0", b"1"))


if "CELERY_SITE_BROKER" in os.environ:
    from tests.celery_site import app as site

    # The settings come first: a task reads them when it is made.
    declare(site.app)
    importlib.import_module("tests.seams.celery.fates")
