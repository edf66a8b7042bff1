"""The table of all fates: expected against seen. `python -m tests.seams.celery.fate_table` prints it as Markdown.

One prefork worker under `opentelemetry-instrument` for each broker, and the receiver in a process of its own.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import re
import signal
import socket
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from opentelemetry import trace as otel
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from clew import attributes as names
from clew.cli.view.receiver import SpanRecord
from clew.export.provider import take_out
from clew.spans import scope as spans
from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.celery_site.worker import DEADLINE, Worker
from tests.seams.celery import all_fates
from tests.seams.celery.cut import proxy
from tests.seams.celery.fate_rows import ROWS, Place, Row
from tests.seams.celery.span_sink import Sink, sink
from tests.seams.celery.test_worker import URLS, _clean_up

# Who reads a queue of Redis is uncertain where workers without clew have been killed, as other tests' are.
OWN = {**URLS, "redis": "redis://127.0.0.1:6379/11"}

_QUEUE = re.compile("clew-[0-9a-f]{12}")
WORKER = ("-P", "prefork", "-c", "4", "-I", all_fates.__name__)


class Seen(NamedTuple):
    """What is in the receiver of one row.

    Args:
        above: trace and span id of the span it was sent below.
        spans: of its trace, without that one.
    """

    above: tuple[str, str]
    spans: list[SpanRecord]

    @property
    def trace(self) -> str:
        """As `Row.trace`."""
        return "\n".join([*_lines(self.spans, self.above[1]), *_orphans(self.spans, self.above[1])])

    def named(self, name: str) -> SpanRecord:
        """The last of this name."""
        return max((span for span in self.spans if span.name == name), key=lambda span: span.start_ns)


def rows(broker: str) -> list[Row]:
    """Those a broker has."""
    return [row for row in ROWS if row.is_there and row.broker in ("", broker)]


def see(broker: str, folder: Path) -> dict[str, Seen]:
    """Bring about every fate; what the receiver has of each row."""
    above: dict[str, tuple[str, str]] = {}
    with sink(folder / "spans") as received, _sending(received), contextlib.ExitStack() as stack:
        between = stack.enter_context(proxy(("127.0.0.1", 5672)))
        here = stack.enter_context(_place(broker, folder, received, between.port))
        for phase in range(3):
            now = [row for row in rows(broker) if row.phase == phase]
            sent = {row.name: _send(row, here) for row in now}
            above.update(sent)
            if phase == 1 and sent:
                _wait_for(here, "first")
                between.cut() if broker == "rabbitmq" else _restore(here)
            if phase == 2:
                here.worker.stop(signal.SIGQUIT)
            spans.pipeline().provider.force_flush()  # type: ignore[union-attr]
            received.wait_for(functools.partial(_are_there, now, sent), DEADLINE / 2)
        everything = received.spans
    return {name: Seen(ids, _of(everything, ids)) for name, ids in above.items()}


@contextlib.contextmanager
def _sending(received: Sink) -> Iterator[None]:
    """Trace this process, and export to the receiver."""
    with tracing():
        provider = spans.pipeline().provider  # type: ignore[union-attr]
        exporter = OTLPSpanExporter(f"{received.endpoints['http']}/v1/traces")
        processor = BatchSpanProcessor(exporter, schedule_delay_millis=200)
        provider.add_span_processor(processor)
        try:
            yield
        finally:
            processor.shutdown()
            take_out(provider, [processor])


@contextlib.contextmanager
def _place(broker: str, folder: Path, received: Sink, port: int) -> Iterator[Place]:
    queue, url, backend = f"clew-{uuid.uuid4().hex[:12]}", OWN[broker], OWN["redis"]
    app = make_app(url, queue, backend)
    all_fates.declare(app)
    environment = {"CELERY_SITE_BACKEND": backend, "OTEL_BSP_SCHEDULE_DELAY": "100"}
    of_worker = url.replace("5672", str(port)) if broker == "rabbitmq" else url
    worker = Worker(of_worker, queue, received.endpoints["grpc"], folder, *WORKER, environment=environment)
    try:
        with worker:
            yield Place(app, worker, f"{queue}@{socket.gethostname()}", folder)
    finally:
        consumer = app.backend.result_consumer
        consumer.stop()
        consumer._pubsub = None  # a result that goes later would open it again
        app.backend.client.connection_pool.disconnect()
        for name in (f"{queue}-nobody", queue):
            _clean_up(app, broker, name)
        if broker != "redis":
            _clean_up(make_app(backend, queue), "redis", queue)


def _send(row: Row, here: Place) -> tuple[str, str]:
    with otel.get_tracer("test").start_as_current_span(row.name) as span:
        row.send(here)
    context = span.get_span_context()
    return f"{context.trace_id:032x}", f"{context.span_id:016x}"


def _wait_for(here: Place, file: str, seconds: float = DEADLINE) -> bool:
    """Until the task that is to be delivered again has made that file."""
    until = time.monotonic() + seconds
    while not (found := list(here.folder.glob(f"*/{file}"))) and time.monotonic() < until:
        time.sleep(0.05)
    return bool(found)


def _restore(here: Place) -> None:
    """What any other worker of this Redis does now and then, if its visibility timeout were one second."""
    options = {**here.app.conf.broker_transport_options, "visibility_timeout": 1}
    with here.app.connection_for_write(transport_options=options) as connection:
        for _ in range(60):
            connection.default_channel.qos.restore_visible(interval=1)
            if _wait_for(here, "second", 0.5):
                return


def _are_there(now: list[Row], sent: dict[str, tuple[str, str]], seen: list[SpanRecord]) -> bool:
    counts = Counter(span.trace_id for span in seen)
    return all(counts[sent[row.name][0]] > len(row.trace.splitlines()) for row in now)


def _of(everything: list[SpanRecord], ids: tuple[str, str]) -> list[SpanRecord]:
    below = [span for span in everything if span.trace_id == ids[0] and span.span_id != ids[1]]
    return [dataclasses.replace(span, name=_QUEUE.sub("{queue}", span.name)) for span in below]


def _lines(found: list[SpanRecord], parent: str) -> Iterator[str]:
    for span in sorted(found, key=lambda span: span.start_ns):
        if span.parent_span_id == parent:
            yield _line(span)
            rest = [each for each in found if each is not span]
            yield from (f"  {line}" for line in _lines(rest, span.span_id))


def _orphans(found: list[SpanRecord], above: str) -> Iterator[str]:
    known = {above, *(span.span_id for span in found)}
    return (f"? {_line(span)}" for span in found if span.parent_span_id not in known)


def _line(span: SpanRecord) -> str:
    said = [str(span.attributes[key]) for key in ("celery.outcome",) if key in span.attributes]
    said += [span.status] if span.status == "ERROR" else []
    links = sorted(str(link[2].get(names.CLEW_LINK_KIND)) for link in span.links)
    line = f"{span.name}: {', '.join(said)}" if said else span.name
    return f"{line} -> {', '.join(links)}" if links else line


def markdown(broker: str, seen: dict[str, Seen]) -> str:
    """The table of one broker."""
    lines = [f"| fate ({broker}) | expected | seen | |", "|-|-|-|-|"]
    for row in rows(broker):
        found = seen[row.name]
        verdict = "as expected" if not differences(row, found) else "; ".join(differences(row, found))
        lines.append(f"| {row.name} | {_cell(_with_attributes(row))} | {_cell(found.trace)} | {verdict} |")
    return "\n".join(lines)


def differences(row: Row, found: Seen) -> list[str]:
    """What is not as it must be."""
    said = [] if found.trace == row.trace else ["another trace"]
    for name, attributes in row.attributes.items():
        if all(span.name != name for span in found.spans):
            continue
        held = found.named(name).attributes
        for key, value in attributes.items():
            got = held.get(key)
            if (tuple(got) if isinstance(got, list) else got) != value:
                said.append(f"{name}: {key} is {got!r}, not {value!r}")
    return said


def _with_attributes(row: Row) -> str:
    more = [f"{key}={value}" for held in row.attributes.values() for key, value in held.items()]
    return "\n".join([row.trace, *more])


def _cell(text: str) -> str:
    return text.replace("  ", "&emsp;").replace("|", "\\|").replace("\n", "<br>")


def main(brokers: Any) -> None:
    for broker in brokers or ("redis", "rabbitmq"):
        with tempfile.TemporaryDirectory() as folder:
            print(markdown(broker, see(broker, Path(folder))), end="\n\n", flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
