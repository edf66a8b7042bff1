"""The broker of `--broker URL`: whether it can be reached, and leaving nothing behind in it."""

from __future__ import annotations

import contextlib
import importlib.util
from collections.abc import Iterator
from typing import Any

from clew.cli.demo.processes import DemoError

_SECONDS = 3


def check_broker(url: str) -> None:
    """Connect once.

    Raises:
        DemoError: nothing answers, a package is missing, or it is no broker's URL.
    """
    with _opened(url):
        pass


def forget_queue(url: str, queue: str) -> None:
    """Delete the queue the demo made, and its exchange."""
    from kombu import Exchange, Queue

    with contextlib.suppress(Exception), _opened(url) as connection:
        bound = Queue(queue, Exchange(queue), routing_key=queue)(connection.default_channel)
        # Redis forgets the bindings of what this very connection has declared, and of nothing else.
        bound.declare()
        bound.delete()
        bound.exchange.delete()


@contextlib.contextmanager
def _opened(url: str) -> Iterator[Any]:
    from kombu import Connection

    name = url.partition("://")[0]
    connection = None
    try:
        # kombu would say that None has no attribute.
        if name.startswith(("redis", "sentinel")) and importlib.util.find_spec("redis") is None:
            raise ModuleNotFoundError("pip install redis")
        connection = Connection(url, connect_timeout=_SECONDS)
        name = connection.as_uri()  # without the password
        connection.ensure_connection(max_retries=1, interval_start=0, timeout=_SECONDS)
    except ImportError as error:
        raise DemoError(f"the broker {name} needs a Python package that is missing ({error})") from None
    except Exception as error:  # noqa: BLE001 - each transport has exceptions of its own
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DemoError(f"the broker {name} cannot be used: {reason}") from None
    try:
        yield connection
    finally:
        connection.release()
