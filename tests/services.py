"""The real services some tests use. A missing one is a reason to skip, in CI a failure."""

from __future__ import annotations

import os
import shutil
import socket

import pytest

ADDRESSES = {
    "redis": ("127.0.0.1", 6379),
    "rabbitmq": ("127.0.0.1", 5672),
    "postgres": ("127.0.0.1", 5432),
    "mariadb": ("127.0.0.1", 3306),
}
PROGRAMS = {"prometheus": ("prometheus", "promtool")}
NAMES = (*ADDRESSES, *PROGRAMS)


def require(name: str) -> None:
    """Skip the test, or fail it in CI, unless the service accepts connections, or the programs are there."""
    reason = _missing(name)
    if reason and os.environ.get("CI") == "true":
        pytest.fail(reason)
    if reason:
        pytest.skip(reason)


def _missing(name: str) -> str:
    if name in PROGRAMS:
        return ", ".join(f"{each} is not installed" for each in PROGRAMS[name] if shutil.which(each) is None)
    host, port = ADDRESSES[name]
    try:
        socket.create_connection((host, port), 2).close()
    except OSError as error:
        return f"{name} is not reachable at {host}:{port}: {error}"
    return ""
