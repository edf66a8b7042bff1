"""What arrives of what a process has recorded when it ends, for each way to end: `python -m tests.exits.table [NAME]`.

The batch delay is a minute, so all that arrives was sent because the process ended. Beside clew: contrib alone, by
OpenTelemetry's own distribution, and clew on that one's provider.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from importlib import metadata
from pathlib import Path

from tests.exits.rows import BIN, ROWS, Row
from tests.seams.celery.span_sink import Sink, sink
from tests.test_servers import free_port

ROOT = Path(__file__).parent.parent.parent
CONTENDERS = {
    "clew": {"OTEL_PYTHON_CONFIGURATOR": "none", "OTEL_PYTHON_DISTRO": "none"},
    "clew on the distro's provider": {},
    "contrib": {"OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "clew"},
}


def is_there(row: Row) -> bool:
    """Whether what the row needs is installed."""
    try:
        return not row.needs or bool(metadata.version(row.needs))
    except metadata.PackageNotFoundError:
        return False


def run(
    row: Row, signalled: str, contender: str, received: Sink, protocol: str = "grpc", **env: str
) -> tuple[int, str]:
    """Start it, ask it, end it; returns how many of its spans arrived, and what it said."""
    port, before = free_port(), len(_of_row(row, received))
    words = [BIN / "opentelemetry-instrument", *(word.replace("PORT", str(port)) for word in row.command)]
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            words, cwd=ROOT, env=_env(contender, received, protocol) | env,
            stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            if row.is_server:
                for _ in range(row.spans):
                    _fetch(f"http://127.0.0.1:{port}/plain/", process)
                time.sleep(row.pause_s)
                (os.kill if signalled == "process" else os.killpg)(process.pid, signal.SIGTERM)
            process.wait(timeout=60)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
        received.wait_for(lambda spans: len(_of_row(row, received)) - before >= row.spans, 2)
        said.seek(0)
        return len(_of_row(row, received)) - before, said.read()


def _of_row(row: Row, received: Sink) -> list[object]:
    name = "GET plain/" if row.is_server else "work"
    return [span for span in received.spans if span.name == name]


def _env(contender: str, received: Sink, protocol: str) -> dict[str, str]:
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "CLEW_", "DJANGO_"))}
    return {
        **kept,
        "OTEL_EXPORTER_OTLP_ENDPOINT": received.endpoints[protocol.partition("/")[0]],
        "OTEL_EXPORTER_OTLP_PROTOCOL": protocol,
        "OTEL_BSP_SCHEDULE_DELAY": "60000",
        "OTEL_SERVICE_NAME": "site",
        "OTEL_METRICS_EXPORTER": "none",
        "OTEL_LOGS_EXPORTER": "none",
        "OTEL_SEMCONV_STABILITY_OPT_IN": "http",
        "PYTHONPATH": str(ROOT),
        "DJANGO_SETTINGS_MODULE": "tests.site.settings",
        **CONTENDERS[contender],
    }


def _fetch(url: str, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while True:
        try:
            with urllib.request.urlopen(url, timeout=10) as reply:
                reply.read()
                return
        except urllib.error.HTTPError as error:
            error.close()
            return
        except OSError:
            if time.monotonic() > deadline or process.poll() is not None:
                raise
            time.sleep(0.1)


def main() -> None:
    wanted = sys.argv[1:]
    print("| exit | signal to | " + " | ".join(CONTENDERS) + " |\n|-|-|" + "-|" * len(CONTENDERS), flush=True)
    for row in ROWS:
        for signalled in row.signals if not wanted or row.name in wanted else ():
            cells = [_cell(row, signalled, contender, bool(wanted)) for contender in CONTENDERS]
            print(f"| {row.name} | {signalled} | " + " | ".join(cells) + " |", flush=True)


def _cell(row: Row, signalled: str, contender: str, is_told: bool) -> str:
    if not is_there(row):
        return "not installed"
    with sink(Path(tempfile.mkdtemp()) / "spans") as received:
        try:
            count, said = run(row, signalled, contender, received)
        except Exception as error:
            return repr(error)[:60]
    if is_told:
        print(f"--- {row.name} {contender}: {count}\n{said[-3000:]}", file=sys.stderr)
    return f"{count} of {row.spans}"


if __name__ == "__main__":
    main()
