"""`opentelemetry-instrument` in front of the servers people run, spans received over the wire in another process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from clew.cli.view.receiver import Receiver
from tests.shared import free_port

ROOT = Path(__file__).parent.parent
BIN = Path(sys.executable).parent


MANAGE, WSGI, ASGI = "tests/site/manage.py", "tests.site.wsgi", "tests.site.asgi:application"
COMMANDS = {
    "runserver": [sys.executable, MANAGE, "runserver", "--skip-checks", "127.0.0.1:PORT"],
    "gunicorn": [BIN / "gunicorn", "-b", "127.0.0.1:PORT", "-w", "2", WSGI],
    "gunicorn --preload": [
        BIN / "gunicorn", "-b", "127.0.0.1:PORT", "--preload", "-w", "2", "--max-requests", "2", WSGI
    ],
    "uvicorn": [BIN / "uvicorn", "--port", "PORT", ASGI],
    "gunicorn --max-requests": [BIN / "gunicorn", "-b", "127.0.0.1:PORT", "--max-requests", "400", WSGI],
    "gunicorn --threads": [BIN / "gunicorn", "-b", "127.0.0.1:PORT", "--threads", "2", "--max-requests", "400", WSGI],
    "gunicorn uvicorn worker": [
        BIN / "gunicorn", "-b", "127.0.0.1:PORT", "-k", "uvicorn_worker.UvicornWorker", "--max-requests", "400", ASGI
    ],
    "uvicorn --limit-max-requests": [BIN / "uvicorn", "--port", "PORT", "--limit-max-requests", "400", ASGI],
    "daphne": [BIN / "daphne", "-p", "PORT", ASGI],
    "uvicorn --workers": [
        BIN / "uvicorn", "--port", "PORT", "--workers", "2", "--timeout-worker-healthcheck", "60", ASGI
    ],
}  # fmt: skip


@contextlib.contextmanager
def serving(command, protocol, receiver, **more):
    port = free_port()
    env = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "CLEW_", "DJANGO_"))}
    env.update(
        OTEL_EXPORTER_OTLP_ENDPOINT=receiver.grpc_endpoint if protocol == "grpc" else receiver.http_endpoint,
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_SERVICE_NAME="site",
        OTEL_METRICS_EXPORTER="none",
        OTEL_LOGS_EXPORTER="none",
        PYTHONPATH=str(ROOT),
        DJANGO_ALLOWED="1",
        **more,
    )
    output = []
    process = subprocess.Popen(
        [BIN / "opentelemetry-instrument", *(str(word).replace("PORT", str(port)) for word in COMMANDS[command])],
        cwd=ROOT, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True,
    )  # fmt: skip
    try:
        yield f"http://127.0.0.1:{port}", output
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        try:
            output.append(process.communicate(timeout=45)[0])
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def fetch(url):
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                return reply.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.read()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def wait_for(is_true):
    deadline = time.monotonic() + 30
    while not is_true() and time.monotonic() < deadline:
        time.sleep(0.1)


CASES = [
    ("runserver", "grpc"),
    ("gunicorn", "http/protobuf"),
    ("gunicorn --preload", "grpc"),
    ("uvicorn", "http/protobuf"),
    ("uvicorn --workers", "grpc"),
]


@pytest.mark.parametrize(("command", "protocol"), CASES)
def test_every_request_arrives_whole(command, protocol):
    received = []
    with Receiver(received.extend, grpc_port=0, http_port=0) as receiver:
        with serving(command, protocol, receiver) as (url, said):
            for path in ("/plain/", "/missing/", "/class/", "/aplain/", "/stream/", "/broken/"):
                fetch(url + path)
            if command == "runserver":  # its reloader kills the serving child at once when it is told to stop
                wait_for(lambda: any(record.name == "GET broken/" for record in received))
        output = "".join(said)
    servers = {record.name: record for record in received if record.kind == "SERVER"}
    expected = {"GET plain/", "GET missing/", "GET class/", "GET aplain/", "GET stream/", "GET broken/"}
    assert set(servers) == expected, output
    views = {record.trace_id: record for record in received if record.name.startswith("view ")}
    assert {views[server.trace_id].parent_span_id for server in servers.values()} == {
        server.span_id for server in servers.values()
    }
    assert servers["GET broken/"].status == "ERROR"
    assert servers["GET plain/"].service == "site"
    assert "internal error" not in output


def test_gunicorn_with_max_requests_and_a_slow_collector(monkeypatch):
    """Every answer takes two seconds; workers leave after two requests all the same, and take nothing with them."""
    received = []
    with Receiver(received.extend, grpc_port=0, http_port=0) as receiver:
        take = receiver._intake.take
        monkeypatch.setattr(receiver._intake, "take", lambda export: (time.sleep(2), take(export))[1])
        with serving("gunicorn --preload", "grpc", receiver) as (url, said):
            for _ in range(10):
                fetch(url + "/plain/")
        wait_for(lambda: sum(record.kind == "SERVER" for record in received) >= 10)
    servers = [record for record in received if record.kind == "SERVER"]
    assert len({record.span_id for record in servers}) == len(servers) == 10, "".join(said)
    assert "were lost" not in "".join(said)
    assert "WORKER TIMEOUT" not in "".join(said)


@pytest.mark.parametrize("server", ["uvicorn", "daphne"])
def test_what_waits_for_a_thread_and_what_keeps_the_loop_is_found(server):
    pytest.importorskip(server)
    received = []
    with Receiver(received.extend, grpc_port=0, http_port=0) as receiver:
        with serving(server, "http/protobuf", receiver) as (url, said):
            for path in ("/aplain/", "/ablocks/", "/awaits/"):
                fetch(url + path)
        output = "".join(said)
    found = {record.name: record.attributes.get("clew.findings", ()) for record in received if record.kind == "SERVER"}
    assert found == {
        "GET aplain/": (),
        "GET ablocks/": ("blocking_on_loop",),
        "GET awaits/": ("thread_wait",),
    }, output
    held = [record.attributes["django.async.held_by"] for record in received if record.name.startswith("sync_to_async")
            and "django.async.held_by" in record.attributes]  # fmt: skip
    assert held == ["tests.site.views.takes_long"]
