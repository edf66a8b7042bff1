"""`Task.Request` classes that do not call Celery's methods, and their tasks, for test_own_classes.py and its worker."""

from __future__ import annotations

import os
import signal
import time
from typing import Any

from celery.worker.request import Request


class Silent(Request):
    """Deals with everything itself."""

    def on_failure(self, *args: Any, **kwargs: Any) -> None:
        pass

    def on_timeout(self, is_soft: bool, seconds: float) -> None:
        pass

    def on_success(self, outcome: Any, **kwargs: Any) -> None:
        pass


class Polite(Request):
    """Calls what it replaces."""

    def on_failure(self, exc_info: Any, send_failed_event: bool = True, return_ok: bool = False) -> Any:
        return super().on_failure(exc_info, send_failed_event=send_failed_event, return_ok=return_ok)


class Closed(Request):
    """Lets nothing run."""

    def revoked(self) -> bool:
        return True


def declare(app: Any) -> None:
    here = __name__
    for name in ("Silent", "Polite"):
        options = {"Request": f"{here}:{name}", "shared": False}

        @app.task(name=f"killed {name}", **options)
        def killed() -> None:
            time.sleep(0.2)
            os.kill(os.getpid(), signal.SIGKILL)

        @app.task(name=f"hard {name}", time_limit=1, **options)
        def hard() -> None:
            time.sleep(60)

        @app.task(name=f"fail {name}", **options)
        def fail() -> None:
            raise ValueError

    @app.task(name="never Closed", Request=f"{here}:Closed", shared=False)
    def never() -> None:
        pass


if "CELERY_SITE_BROKER" in os.environ:
    from tests.celery_site import app as site

    declare(site.app)
