"""Start a real worker under `opentelemetry-instrument`, and gather what it exports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from clew.cli.view.receiver import Receiver, SpanRecord

BIN = Path(sys.executable).parent
DEADLINE = 60.0


class Gathered:
    """The spans a receiver got."""

    def __init__(self) -> None:
        self._spans: list[SpanRecord] = []
        self._changed = threading.Condition()

    def take(self, spans: list[SpanRecord]) -> None:
        with self._changed:
            self._spans += spans
            self._changed.notify_all()

    @property
    def spans(self) -> list[SpanRecord]:
        with self._changed:
            return list(self._spans)

    def runs(self, trace_ids: set[str] | None = None) -> list[SpanRecord]:
        return [
            span for span in self.spans if span.kind == "CONSUMER" and (not trace_ids or span.trace_id in trace_ids)
        ]

    def wait_for(self, is_there: Callable[[list[SpanRecord]], object]) -> list[SpanRecord]:
        """The spans, as soon as `is_there`; all there are at the deadline."""
        with self._changed:
            self._changed.wait_for(lambda: is_there(self._spans), DEADLINE)
            return list(self._spans)


class Worker:
    """A worker process.

    Args:
        broker: URL.
        queue: its queue.
        endpoint: of the receiver.
        folder: for its log, and the filesystem transport's messages.
        arguments: of `celery worker`.
        environment: more of it.
        command: what to start Celery with.
    """

    def __init__(
        self,
        broker: str,
        queue: str,
        endpoint: str,
        folder: Path,
        *arguments: str,
        environment: dict[str, str] | None = None,
        command: tuple[str, ...] = ("opentelemetry-instrument", "celery"),
    ) -> None:
        self.log = folder / f"worker-{os.getpid()}-{time.monotonic_ns()}.log"
        self._command = [str(BIN / command[0]), *command[1:], "-A", "tests.celery_site.app", "worker", "-l", "INFO"]
        self._command += ["-n", f"{queue}@%h", "--without-gossip", "--without-mingle", *arguments]
        # Without pytest-django's settings: a worker of its own app, quick to start.
        inherited = {key: value for key, value in os.environ.items() if key != "DJANGO_SETTINGS_MODULE"}
        self._environment = {
            **inherited,
            "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
            "CELERY_SITE_BROKER": broker,
            "CELERY_SITE_QUEUE": queue,
            "CELERY_SITE_FOLDER": str(folder),
            "OTEL_SERVICE_NAME": "site-worker",
            "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "redis,django",
            **(environment or {}),
        }

    def __enter__(self) -> Worker:
        with self.log.open("wb") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=Path.cwd(),
                start_new_session=True,
            )
        self.wait_for_log(" ready.")
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            self.stop()

    def wait_for_log(self, text: str) -> None:
        until = time.monotonic() + DEADLINE
        while text not in self.log.read_text(errors="replace"):
            assert self._process.poll() is None, f"the worker ended:\n{self.log.read_text(errors='replace')}"
            assert time.monotonic() < until, f"no {text!r} in\n{self.log.read_text(errors='replace')}"
            time.sleep(0.02)

    def stop(self, number: int = signal.SIGTERM) -> float:
        """Warm shutdown; returns the seconds it took."""
        started = time.monotonic()
        self._process.send_signal(number)
        try:
            self._process.wait(DEADLINE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            raise
        return time.monotonic() - started


def answer_slowly(monkeypatch: Any, seconds: float) -> None:
    """Have a `Receiver` answer each export late, those of different senders at the same time."""
    start = Receiver.start

    def start_slowly(self: Receiver) -> None:
        take = self._intake.take
        self._intake.take = lambda export: (time.sleep(seconds), take(export))[1]
        start(self)

    monkeypatch.setattr(Receiver, "start", start_slowly)


__all__ = ["DEADLINE", "Gathered", "Receiver", "Worker", "answer_slowly"]
