"""The Celery application: `celery -A clew.cli.demo_site.celery_app worker`."""

from __future__ import annotations

import logging
import os
from typing import Any

from celery import Celery
from celery.signals import worker_ready

from clew.cli.demo.processes import READY
from clew.cli.demo_site import folder_broker

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "clew.cli.demo_site.settings")

folder_broker.install()
app = Celery("clew-demo")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()


@worker_ready.connect  # type: ignore[untyped-decorator,unused-ignore]
def _say_ready(**_: Any) -> None:
    logging.getLogger("celery.worker").warning("%s", READY)
