"""Receives OTLP in a process of its own, each span a line of JSON: `python -m tests.seams.celery.span_sink FILE`."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from clew.cli.view.receiver import Receiver, SpanRecord


class Sink:
    """What such a process has received.

    Args:
        file: it writes.
        endpoints: for `OTEL_EXPORTER_OTLP_ENDPOINT`, by protocol.
    """

    def __init__(self, file: Path, endpoints: dict[str, str]) -> None:
        self._file, self.endpoints = file, endpoints

    @property
    def spans(self) -> list[SpanRecord]:
        lines = self._file.read_text().splitlines(keepends=True)
        return [_span(json.loads(line)) for line in lines if line.endswith("\n")]

    def wait_for(self, is_there: Callable[[list[SpanRecord]], Any], seconds: float) -> None:
        """Until `is_there`, at most so long; what is missing then shows in what is compared."""
        until = monotonic() + seconds
        while not is_there(self.spans) and monotonic() < until:
            sleep(0.1)


def _span(held: dict[str, Any]) -> SpanRecord:
    return SpanRecord(**{**held, "links": tuple((*link[:2], link[2]) for link in held["links"])})


@contextlib.contextmanager
def sink(file: Path) -> Iterator[Sink]:
    """Such a process, as long as the block lasts."""
    file.touch()
    command = [sys.executable, "-m", __name__, str(file)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        yield Sink(file, json.loads(process.stdout.readline()))
        process.communicate()


def main() -> None:
    with open(sys.argv[1], "a") as file:

        def take(spans: list[SpanRecord]) -> None:
            file.writelines(json.dumps(dataclasses.asdict(span), default=str) + "\n" for span in spans)
            file.flush()

        with Receiver(take, grpc_port=0, http_port=0) as receiver:
            print(json.dumps({"grpc": receiver.grpc_endpoint, "http": receiver.http_endpoint}), flush=True)
            sys.stdin.read()


if __name__ == "__main__":
    main()
