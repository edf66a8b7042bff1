"""What a worker of test_flush.py is told besides its command line (`celery worker -I`)."""

from __future__ import annotations

import os

if "CELERY_SITE_BROKER" in os.environ:
    from tests.celery_site import app as site

    site.app.conf.worker_soft_shutdown_timeout = float(os.environ.get("CELERY_SITE_GRACE", "0"))
