from __future__ import annotations

import os
import re
import signal
import socket
import subprocess
import sys

import pytest
from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter as GrpcExporter
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter as HttpExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.trace import Link, SpanKind, set_span_in_context

import clew.cli
from clew.cli.view.trace_buffer import TraceBuffer
from clew.cli.view.tree import SpanRecord
from tests.processes import Process

TRACE, OTHER = "ab12" * 8, "cd34" * 8
RUN = "import sys; from clew.cli import main; sys.exit(main())"


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def buffer(clock):
    return TraceBuffer(settle=1, patience=7, max_traces=3, max_spans=100, clock=clock)


def span(number, parent=0, trace=TRACE, kind="INTERNAL", links=()):
    parent_id = f"{parent:016x}" if parent else ""
    return SpanRecord(trace, f"{number:016x}", parent_id, f"span {number}", kind, number, number + 1, links=links)


def link(number, trace=TRACE):
    return ((trace, f"{number:016x}", {}),)


def shown(parts):
    return [sorted(int(record.span_id, 16) for record in part.records) for part in parts]


def after(clock, seconds):
    clock.now += seconds


def test_a_complete_trace_is_shown_once_it_is_quiet(buffer, clock):
    buffer.add([span(2, 1)])
    buffer.add([span(1)])
    assert buffer.ready() == []
    after(clock, 1)
    assert shown(buffer.ready()) == [[1, 2]]
    assert buffer.ready() == []


def test_without_its_root_a_trace_waits_longer(buffer, clock):
    buffer.add([span(2, 1)])
    after(clock, 6)
    assert buffer.ready() == []
    after(clock, 1)
    assert shown(buffer.ready()) == [[2]]


def test_a_publish_waits_for_its_task(buffer, clock):
    buffer.add([span(1), span(2, 1, kind="PRODUCER")])
    after(clock, 5)
    assert buffer.ready() == []
    buffer.add([span(3, 2, kind="CONSUMER")])
    after(clock, 1)
    assert shown(buffer.ready()) == [[1, 2, 3]]


def test_a_task_that_comes_later_is_a_continuation_that_knows_what_was_shown(buffer, clock):
    buffer.add([span(1), span(2, 1, kind="PRODUCER")])
    after(clock, 7)
    assert shown(buffer.ready()) == [[1, 2]]
    buffer.add([span(3, 2, kind="CONSUMER")])
    after(clock, 1)
    (part,) = buffer.ready()
    assert part.new == 0
    assert part.known[TRACE][f"{2:016x}"] == "span 2"


def test_traces_joined_by_a_link_are_shown_together(buffer, clock):
    buffer.add([span(3, trace=OTHER, kind="CONSUMER", links=link(2))])
    after(clock, 2)
    assert buffer.ready() == []
    buffer.add([span(1), span(2, 1, kind="PRODUCER")])
    after(clock, 1)
    (part,) = buffer.ready()
    assert shown([part]) == [[1, 2, 3]]
    assert part.new == 2


def test_a_linked_task_that_comes_later_knows_its_publish(buffer, clock):
    buffer.add([span(1, kind="PRODUCER")])
    after(clock, 7)
    buffer.ready()
    buffer.add([span(3, trace=OTHER, kind="CONSUMER", links=link(1))])
    after(clock, 1)
    (part,) = buffer.ready()
    assert part.new == 1
    assert part.known[TRACE] == {f"{1:016x}": "span 1"}


def test_a_trace_that_never_rests_is_shown_after_a_minute(buffer, clock):
    for number in range(2, 63):
        assert buffer.ready() == []
        buffer.add([span(number, 1)])
        after(clock, 0.99)
    assert len(buffer.ready()[0].records) == 10


def test_the_oldest_trace_makes_room_and_that_is_counted(buffer):
    buffer.add(span(1, trace=f"{number:032x}") for number in range(5))
    assert buffer.dropped() == (2, 2)
    assert buffer.dropped() == (0, 0)
    assert len(buffer.rest()) == 3


def test_one_huge_trace_keeps_its_first_spans_and_those_above_them(buffer):
    buffer.add(span(number, 2) for number in range(3, 31))
    buffer.add([span(2, 1), span(1)])
    assert buffer.dropped() == (0, 18)
    assert shown(buffer.rest()) == [list(range(1, 13))]


def clew_view(*options, stdout=subprocess.PIPE, **environment):
    return Process(
        [sys.executable, "-c", RUN, "view", "--grpc-port", "0", "--http-port", "0", "--settle", "100ms", *options],
        stdout=stdout,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        env={**os.environ, "PYTHONIOENCODING": "utf-8", "COLUMNS": "100", **environment},
    )


def endpoints(process):
    first, second = process.stderr.readline(), process.stderr.readline()
    found = re.findall(r"http://[\d.:]+", first)
    assert f"OTEL_EXPORTER_OTLP_ENDPOINT={found[0]}" in second
    return found


def tracer_for(exporter, service, pid):
    provider = TracerProvider(resource=Resource({"service.name": service, "process.pid": pid}))
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    return provider, provider.get_tracer("scope")


def send_request_and_task(grpc_endpoint, http_endpoint, linked=False):
    web, web_tracer = tracer_for(GrpcExporter(endpoint=grpc_endpoint, insecure=True), "web", 1)
    worker, worker_tracer = tracer_for(HttpExporter(endpoint=f"{http_endpoint}/v1/traces"), "worker", 2)
    with (
        web_tracer.start_as_current_span("GET /cart/", kind=SpanKind.SERVER),
        web_tracer.start_as_current_span("apply_async/send", kind=SpanKind.PRODUCER) as publish,
    ):
        pass
    worker_tracer.start_span(
        "run/send",
        context=None if linked else set_span_in_context(publish),
        kind=SpanKind.CONSUMER,
        links=[Link(publish.get_span_context())],
    ).end()
    web.shutdown()
    worker.shutdown()


def test_a_request_and_its_task_from_two_processes_are_one_tree():
    with clew_view("--once") as view:
        send_request_and_task(*endpoints(view))
        printed, _ = view.communicate(timeout=60)
    assert view.returncode == 0
    assert "2 processes" in printed
    assert re.search(r"GET /cart/ \[web pid 1\].*\n└─ apply_async/send .*\n   └─ run/send \[worker pid 2\]", printed)
    assert "↪ linked to its publish" in printed
    assert "\x1b" not in printed


def test_in_link_mode_the_two_traces_follow_one_another():
    with clew_view("--count", "2") as view:
        send_request_and_task(*endpoints(view), linked=True)
        printed, _ = view.communicate(timeout=60)
    assert printed.count("── trace ") == 2
    assert "↪ goes on in run/send" in printed
    assert "↪ link to apply_async/send" in printed


def test_filters_let_only_what_matches_through():
    with clew_view("--once", "--name", "WANTED", "--service", "web", "--min-duration", "1us") as view:
        grpc_endpoint, _ = endpoints(view)
        provider, tracer = tracer_for(GrpcExporter(endpoint=grpc_endpoint, insecure=True), "web", 1)
        for name in ("first", "the wanted one"):
            tracer.start_span(name).end()
        provider.shutdown()
        printed, _ = view.communicate(timeout=60)
    assert "the wanted one" in printed
    assert "first" not in printed


def test_ctrl_c_shows_what_has_arrived_and_ends_without_a_traceback():
    with clew_view("--settle", "50s") as view:
        grpc_endpoint, _ = endpoints(view)
        provider, tracer = tracer_for(GrpcExporter(endpoint=grpc_endpoint, insecure=True), "web", 1)
        tracer.start_span("waiting").end()
        provider.shutdown()
        view.send_signal(signal.SIGINT)
        printed, said = view.communicate(timeout=60)
    assert view.returncode == 130
    assert "waiting" in printed
    assert "Traceback" not in said


def test_an_output_that_cannot_draw_gets_ascii():
    with clew_view("--once", PYTHONIOENCODING="latin-1") as view:
        send_request_and_task(*endpoints(view))
        printed, _ = view.communicate(timeout=60)
    assert "`- apply_async/send" in printed


def test_a_reader_that_went_away_is_no_error():
    with clew_view() as view:
        view.stdout.close()
        send_request_and_task(*endpoints(view))
        assert view.wait(timeout=60) == 141
        assert "Traceback" not in view.stderr.read()


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
def test_a_disk_that_is_full_is_said():
    with open("/dev/full", "w") as full, clew_view(stdout=full) as view:
        send_request_and_task(*endpoints(view))
        _, said = view.communicate(timeout=60)
    assert view.returncode == 1
    assert said.endswith("clew: [Errno 28] No space left on device\n")
    assert "Traceback" not in said


def test_a_taken_port_is_one_clear_line(capsys):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = str(other.getsockname()[1])
        assert clew.cli.main(["view", "--grpc-port", port, "--http-port", "0"]) == 1
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert port in said
    assert "--grpc-port" in said


@pytest.mark.parametrize(
    "wrong",
    [
        ["view", "--grpc-port", "70000"],
        ["view", "--settle", "5"],
        ["view", "--min-duration", "soon"],
        ["view", "--count", "0"],
        ["view", "--colour"],
        ["nonsense"],
    ],
)
def test_wrong_use_is_said_with_exit_code_two(capsys, wrong):
    assert clew.cli.main(wrong) == 2
    assert wrong[-1] in capsys.readouterr().err


def test_help_and_version_without_importing_the_subcommands():
    script = RUN.replace("sys.exit(main())", "code = main(); print('grpc' in sys.modules, code)")
    for options in (["--help"], ["--version"], []):
        done = subprocess.run([sys.executable, "-c", script, *options], capture_output=True, text=True, check=True)
        assert f"False {0 if options else 2}" in done.stdout
        assert "clew" in done.stdout


def test_a_missing_package_is_one_line_with_the_remedy():
    script = f"import sys; sys.modules['grpc'] = None; {RUN}"
    done = subprocess.run([sys.executable, "-c", script, "view"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "'grpc'" in done.stderr
    assert "pip install" in done.stderr
