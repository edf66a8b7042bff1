"""The corpus on the database DATABASE names; prints what is found, as JSON (see test_backends.py)."""

# ruff: noqa: E402 - settings and driver are chosen before Django is imported

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3]))

from tests.site import settings

if os.environ["DATABASE"] == "postgres":
    settings.DATABASES["default"] = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "USER": "postgres",
        "NAME": f"clew_corpus_{os.getpid()}",
    }
# All tables at once: a migration cannot refer to one that is not there yet.
settings.MIGRATION_MODULES = dict.fromkeys(("auth", "contenttypes", "sessions", "admin"))
settings.ROOT_URLCONF = "tests.detectors.corpus.urls"
if os.environ.get("INSTRUMENTED"):
    if os.environ["DATABASE"] == "postgres":
        from opentelemetry.instrumentation.psycopg import PsycopgInstrumentor

        PsycopgInstrumentor().instrument(skip_dep_check=True)
    else:
        from opentelemetry.instrumentation.sqlite3 import SQLite3Instrumentor

        SQLite3Instrumentor().instrument()
os.environ["DJANGO_SETTINGS_MODULE"] = "tests.site.settings"

import django

django.setup()

from django.test.utils import get_runner, setup_test_environment, teardown_test_environment

from tests.detectors.corpus import cases  # noqa: F401
from tests.detectors.corpus.case import CASES
from tests.detectors.corpus.runner import run


def main() -> None:
    setup_test_environment()
    runner = get_runner(settings, "django.test.runner.DiscoverRunner")(verbosity=0, interactive=False)
    databases = runner.setup_databases()
    wanted = [case for case in CASES.values() if not sys.argv[1:] or any(name in case.name for name in sys.argv[1:])]
    try:
        found = {
            threshold: {each.case.name: [each.found, each.messages] for each in run(wanted, threshold)}
            for threshold in map(int, os.environ.get("THRESHOLDS", "2 5").split())
        }
    finally:
        runner.teardown_databases(databases)
        teardown_test_environment()
    print(json.dumps(found))


main()
