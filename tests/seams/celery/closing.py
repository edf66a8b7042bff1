"""A process that closes its files as beat inside a worker and a daemon do; prints which ones stayed open."""

from __future__ import annotations

import ctypes
import importlib
import json
import os
import platform
import select
import struct
import sys

import celery.platforms
from opentelemetry.sdk.trace import TracerProvider

import clew

AN_ADDRESS = 0x7F8F79258308
POLLERS: list[select.epoll] = []


def poller(edge_triggered: int, data: int) -> list[int]:
    """An event, and what waits for it."""
    libc, waits = ctypes.CDLL(None, use_errno=True), empty()
    event, held = libc.eventfd(0, os.O_NONBLOCK), "=Iq" if platform.machine() == "x86_64" else "=I4xq"
    assert not libc.epoll_ctl(waits, 1, event, struct.pack(held, select.EPOLLIN | edge_triggered, data))
    return [event, waits]


def empty() -> int:
    """A poller that waits for nothing."""
    POLLERS.append(select.epoll())
    return POLLERS[-1].fileno()


def is_open(number: int) -> bool:
    try:
        os.fstat(number)
    except OSError:
        return False
    return True


def main(exporter: str) -> None:
    clew.setup_tracing(tracer_provider=TracerProvider())
    importlib.import_module("grpc")
    if exporter == "grpc":
        importlib.import_module("opentelemetry.exporter.otlp.proto.grpc.exporter")
    readable, writable = os.pipe()
    files = {
        "gRPC's": poller(select.EPOLLET, AN_ADDRESS),
        "a runtime's": poller(select.EPOLLET, 1),
        "a loop's": poller(0, AN_ADDRESS),
        "an empty poller": [empty()],
        "a pipe": [readable],
        "kept": [writable],
    }
    celery.platforms.close_open_fds([0, 1, 2, writable])
    print(json.dumps([name for name, numbers in files.items() if all(map(is_open, numbers))]))


if __name__ == "__main__":
    main(sys.argv[1])
