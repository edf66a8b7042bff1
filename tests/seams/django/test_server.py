"""A uvicorn that is told to stop finds a handler of ours where there was none; the processes are in test_servers.py."""

from __future__ import annotations

import signal

import pytest
import uvicorn

from clew.testing import tracing


async def app(scope, receive, send):
    """Never called."""


def handler_after_serving():
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="critical", lifespan="off"))
    server.should_exit = True
    server.run()
    return signal.getsignal(signal.SIGTERM)


@pytest.fixture(autouse=True)
def no_handler():
    before = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGTERM, before)


def test_the_default_is_replaced_before_uvicorn_looks():
    with tracing():
        assert handler_after_serving().__module__ == "clew.engine.exits"


def test_somebody_elses_stays():
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    with tracing():
        assert handler_after_serving() is signal.SIG_IGN
