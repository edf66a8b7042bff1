from __future__ import annotations

import logging
import os
import shutil
import signal
import tempfile

import pytest

from clew.engine import isolation
from tests import services
from tests.documented import watch

LEVEL = logging.getLogger().level
COMPILED = pytest.StashKey[str]()


def pytest_configure(config):
    """Half of a process's start is compiling, where the environment forbids to keep the result; we start hundreds.

    What the plugin spares a site's tests, the export, is what many of ours are about.
    """
    for kind in ("TRACES", "METRICS", "LOGS"):
        os.environ.pop(f"OTEL_{kind}_EXPORTER", None)
    if os.environ.pop("PYTHONDONTWRITEBYTECODE", None):
        os.environ["PYTHONPYCACHEPREFIX"] = config.stash[COMPILED] = tempfile.mkdtemp(prefix="clew-tests-compiled-")


@pytest.fixture(autouse=True, scope="session")
def _what_sqlite_can_is_known():
    """A worker in the test's process has Django check the models, and a JSONField would ask the database for that."""
    from django.db.backends.sqlite3.features import DatabaseFeatures

    DatabaseFeatures.supports_json_field = True


def pytest_unconfigure(config):
    shutil.rmtree(config.stash.get(COMPILED, ""), ignore_errors=True)


def pytest_runtest_setup(item):
    for name in services.NAMES:
        if item.get_closest_marker(name):
            services.require(name)


def pytest_collection_modifyitems(items):
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(autouse=True, scope="session")
def ctrl_c():
    """A shell starts what runs in the background with SIGINT ignored, and children inherit that."""
    before = signal.getsignal(signal.SIGINT)
    if before is not signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(autouse=True)
def documented():
    """A span of ours has no attribute that its seam does not document."""
    found = []
    undo = watch(found)
    yield
    undo()
    assert found == []


@pytest.fixture(autouse=True)
def root_logger():
    """A Celery worker in this process sets the root logger's level, and leaves it so."""
    logging.getLogger().setLevel(LEVEL)


@pytest.fixture(autouse=True)
def strict():
    """A bug of ours fails the test it happens in."""
    isolation.is_strict = True
    yield
    isolation.is_strict = False
