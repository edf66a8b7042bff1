"""The real services some tests use. A missing one is a reason to skip, in CI a failure."""

from __future__ import annotations

import os
import socket

import pytest

ADDRESSES = {
    "redis": ("127.0.0.1", 6379),
    "rabbitmq": ("127.0.0.1", 5672),
    "postgres": ("127.0.0.1", 5432),
    "mariadb": ("127.0.0.1", 3306),
}


def require(name: str) -> None:
    """Skip the test, or fail it in CI, unless the service accepts connections."""
    host, port = ADDRESSES[name]
    try:
        socket.create_connection((host, port), 2).close()
    except OSError as error:
        reason = f"{name} is not reachable at {host}:{port}: {error}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
