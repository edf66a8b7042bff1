from __future__ import annotations

import logging
import signal

import pytest

from clew.engine import isolation

LEVEL = logging.getLogger().level


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
def root_logger():
    """A Celery worker in this process sets the root logger's level, and leaves it so."""
    logging.getLogger().setLevel(LEVEL)


@pytest.fixture(autouse=True)
def strict():
    """A bug of ours fails the test it happens in."""
    isolation.is_strict = True
    yield
    isolation.is_strict = False
