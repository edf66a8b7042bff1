"""A run of the demo, from the first process started to the last one ended."""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
import time
import uuid
from pathlib import Path

from clew.cli.demo.broker import check_broker, forget_queue
from clew.cli.demo.drive import Step, visit, visit_mistakes
from clew.cli.demo.export import Outlet, endpoint, open_outlets, to_readable
from clew.cli.demo.processes import DemoError, DemoProcess, Interrupts, stop_all
from clew.cli.demo.show import Show
from clew.cli.demo.spans import Inbox
from clew.cli.demo.stories import NEEDED, are_live_told, visit_stories
from clew.cli.view.receiver import Receiver, ReceiverError
from clew.cli.view.span_record import SpanRecord
from clew.cli.view.trace_buffer import TraceBuffer

_WAIT_SECONDS = 20.0
_LOOK_SECONDS = 0.1
# The page of a story is the same on every machine: what is a span only where it takes long is none.
_LATE = ("RESOLVE", "BLOCK", "RECEIVER", "TEMPLATE_LOAD", "ASYNC_WAIT", "THREAD_WAIT")
_STEADY = {
    "CLEW_MIDDLEWARE_THRESHOLD_US": "100000000",
    **{f"CLEW_{each}_THRESHOLD_MS": "100000" for each in _LATE},
    "CLEW_BLOCKING_ON_LOOP_THRESHOLD_MS": "300",
    "CLEW_SLOW_QUERY_THRESHOLD_MS": "0",
}


def run_demo(args: argparse.Namespace) -> int:
    """Run the demo.

    Returns:
        0 when the traces of both processes arrived and were shown, else 1.
    """
    show = Show()
    with Interrupts() as interrupts:
        demo = _Demo(args, show, interrupts)
        try:
            try:
                demo.go()
                return 0
            finally:
                demo.clean_up()
        except (DemoError, ReceiverError) as error:
            show.complain(str(error))
            return 1
        finally:
            # For the signal that came just before the first.
            demo.clean_up()


class _Demo:
    def __init__(self, args: argparse.Namespace, show: Show, interrupts: Interrupts) -> None:
        self._args, self._show, self._interrupts = args, show, interrupts
        self._folder: Path | None = None
        self._processes: list[DemoProcess] = []
        self._outlets: list[Outlet] = []
        self._inbox = Inbox(self._watch)
        # HTTP alone: gRPC takes longer to import, and the worker forks.
        self._receiver = Receiver(self._inbox.add, grpc_port=None, http_port=0, on_problem=show.complain)
        self._buffer: TraceBuffer | None = None
        # On a broker that others use, no worker of theirs listens to a queue of this name.
        self._queue = f"clew-demo-{uuid.uuid4().hex[:8]}"

    def go(self) -> None:
        """Start, visit, show; raises `DemoError` when anything is not as it should be."""
        broker = self._args.broker
        if broker:
            check_broker(broker)
        self._outlets = open_outlets(self._args.export_file, self._show.complain)
        self._receiver.start()
        self._show.title("starts a Django site and a Celery worker, each under opentelemetry-instrument")
        web, worker = self._start("web"), self._start("worker")
        url = web.wait_until_ready()
        self._show.progress("site", f"{url}, SQLite  (process {web.pid})")
        worker.wait_until_ready()
        through = f"{broker.partition(':')[0]}, queue {self._queue}" if broker else "a folder as its broker"
        self._show.progress("worker", f"prefork, {through}  (process {worker.pid})")
        steps = self._visit(url, self._start_live(), web, worker)
        self._tell([(step, self._inbox.story(step.trace_id)) for step in steps])
        if self._args.keep:
            self._keep(url)

    def clean_up(self) -> None:
        """End and remove everything; may be called again."""
        with self._interrupts.shield():
            # The processes first: their last spans still find the receiver, and the receiver the outlets.
            had_processes = bool(self._processes)
            stop_all(self._processes)
            if had_processes and self._args.broker:
                forget_queue(self._args.broker, self._queue)
            self._receiver.stop()
            while self._outlets:
                self._outlets.pop().close()
            if self._folder is not None:
                shutil.rmtree(self._folder, ignore_errors=True)

    def _start(self, name: str) -> DemoProcess:
        # A signal between the start and the list would leave a process that nobody ends.
        with self._interrupts.shield():
            if self._folder is None:
                self._folder = Path(tempfile.mkdtemp(prefix="clew-demo-"))
            process = DemoProcess(
                name, self._folder, self._environment(self._folder), self._interrupts, self._args.port
            )
            self._processes.append(process)
        return process

    def _start_live(self) -> str:
        if not self._args.stories:
            return ""
        if not are_live_told():
            self._show.progress("live", f"two stories are left out: pip install {' '.join(NEEDED)}")
            return ""
        live = self._start("live")
        url = live.wait_until_ready()
        self._show.progress("live", f"{url}, daphne and Channels  (process {live.pid})")
        return url

    def _environment(self, folder: Path) -> dict[str, str]:
        """The user's environment, without what would trace differently or elsewhere."""
        # A sampler or an exporter that the shell is set to would hide what the demo is there to show.
        foreign = ("OTEL_", "CLEW_DEMO_", "DJANGO_SETTINGS_MODULE")
        kept = {key: value for key, value in os.environ.items() if not key.startswith(foreign)}
        return {
            **kept,
            "OTEL_EXPORTER_OTLP_ENDPOINT": self._receiver.http_endpoint,
            "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            "OTEL_METRICS_EXPORTER": "none",
            "OTEL_LOGS_EXPORTER": "none",
            "OTEL_BSP_SCHEDULE_DELAY": "200",
            # Where they are installed, their spans would stand in place of clew's and of the site's own.
            "OTEL_PYTHON_DISABLED_INSTRUMENTATIONS": "sqlite3,urllib",
            # The exporter would ask a proxy for this machine's own address.
            "NO_PROXY": "127.0.0.1",
            "no_proxy": "127.0.0.1",
            "PYTHONUNBUFFERED": "1",
            # A worker that is killed leaves its own behind.
            "TMPDIR": str(folder),
            "CLEW_DEMO_DIR": str(folder),
            "CLEW_DEMO_QUEUE": self._queue,
            **(_STEADY if self._args.stories else {}),
            **({"CLEW_DEMO_BROKER": self._args.broker} if self._args.broker else {}),
        }

    def _visit(self, url: str, live_url: str, web: DemoProcess, worker: DemoProcess) -> list[Step]:
        try:
            if self._args.stories:
                steps = list(visit_stories(url, live_url))
            else:
                steps = list((visit_mistakes if self._args.findings else visit)(url))
        except DemoError as error:
            raise DemoError(f"{error}{web.tail()}") from None
        self._show.progress("visit", f"{len(steps)} requests; waiting for their spans")
        if lacking := self._inbox.wait(steps, _WAIT_SECONDS):
            said = "".join(f"\n    {text}" for text in lacking)
            # A process that has ended is the better explanation.
            web.check()
            worker.check()
            logged = "".join(f"\n    {line}" for process in (web, worker) for line in process.complaints())
            logged = logged and f"\n  and this was logged:{logged}"
            raise DemoError(f"not everything arrived within {_WAIT_SECONDS:g} s; missing:{said}{logged}")
        return steps

    def _tell(self, story: list[tuple[Step, list[SpanRecord]]]) -> None:
        absent: list[str] = []
        if self._args.stories:
            absent = self._show.stories(story)
        elif self._args.findings:
            absent = [f"clew did not find {each}" for each in self._show.findings(story)]
        else:
            self._show.traces(story, everything=self._args.all)
        if absent:
            raise DemoError("; ".join(absent))
        self._show.next_steps(endpoint())

    def _keep(self, url: str) -> None:
        """Show each trace as it completes, until a signal or until a process ends."""
        self._buffer = TraceBuffer()
        self._show.kept(url)
        while True:
            for part in self._buffer.ready():
                self._show.tree(part.records, part.known)
                print(flush=True)
            for process in self._processes:
                process.check()
            time.sleep(_LOOK_SECONDS)

    def _watch(self, records: list[SpanRecord]) -> None:
        if self._outlets:
            spans = [to_readable(record) for record in records]
            for outlet in self._outlets:
                outlet.add(spans)
        if self._buffer is not None:
            self._buffer.add(records)
