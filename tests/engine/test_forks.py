"""A forked child's threads: none of OpenTelemetry's or ours hears a signal that is the application's."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.celery_site.worker import BIN, Gathered, Receiver

_SITE = """
import os, signal, sys, time

def hearing():
    # The names of the threads that would hear SIGTERM.
    heard = []
    for thread in os.listdir("/proc/self/task"):
        status = dict(line.split(":", 1) for line in open(f"/proc/self/task/{thread}/status"))
        if not int(status["SigBlk"], 16) >> (signal.SIGTERM - 1) & 1:
            heard.append(int(thread) == os.getpid())
    return heard

def record():
    import logging
    from opentelemetry import trace
    with trace.get_tracer("site").start_as_current_span("work"):
        logging.getLogger("site").warning("said")
    trace.get_tracer_provider().force_flush(3000)

record()
pid = os.fork()
if not pid:
    record()
    print(len(os.listdir("/proc/self/task")) > 1, hearing(), flush=True)
    os._exit(0)
os.waitpid(pid, 0)
print(signal.pthread_sigmask(signal.SIG_BLOCK, ()), flush=True)
"""


@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="only Linux lists a process's threads")
@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
def test_only_the_main_thread_of_a_forked_child_hears_signals(protocol, tmp_path):
    """billiard's child blocks SIGTERM in its main thread while it says goodbye; another thread that hears it leaves the
    lock of the results held, and the worker stands still."""
    site = tmp_path / "site.py"
    site.write_text(_SITE)
    with Receiver(Gathered().take, grpc_port=0, http_port=0) as receiver:
        environment = {
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
            "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint,
        }
        found = subprocess.run(
            [BIN / "opentelemetry-instrument", sys.executable, site],
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
    assert found.stdout.splitlines() == ["True [True]", "set()"], found.stderr
