"""Entry point `opentelemetry_pre_instrument`: clew under `opentelemetry-instrument`, beside any distribution.

We stand before the instrumentors because contrib's would touch Django's settings; an error here would keep every
instrumentor from loading, so none leaves.
"""

from __future__ import annotations

import logging
import os


def pre_instrument() -> None:
    """Set up tracing. Never raises; what goes wrong is one line in the log."""
    disabled = os.environ.get("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "")
    if "clew" in [name.strip() for name in disabled.split(",")]:
        return
    try:
        from clew.core import green

        green.patch_as_celery_would()
        from clew.bootstrap import setup_automatically

        setup_automatically()
    except Exception as error:  # noqa: BLE001 - nothing may keep the application from starting
        logging.getLogger("clew").error(
            "clew: tracing could not be set up, the application runs without it: %s: %s", type(error).__name__, error
        )
