from __future__ import annotations

import importlib.util
import json
import os
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections import namedtuple
from pathlib import Path

import kombu
import pytest
import redis

from clew.cli.view.otlp_body import JSON, parse_traces
from clew.cli.view.receiver import Receiver
from clew.cli.view.span_record import from_otlp
from tests.processes import Process
from tests.services import require
from tests.shared import free_port, until

RUN = "import sys; from clew.cli import main; sys.exit(main())"
WORKS_IN_THIS_TIME = 120

Done = namedtuple("Done", "code out err scratch file")

HAS_FILE_EXPORTER = importlib.util.find_spec("opentelemetry.exporter.otlp.json") is not None


@pytest.fixture(scope="module")
def compiled(tmp_path_factory):
    # Half of a start is compiling, where the environment forbids to keep the result.
    return tmp_path_factory.mktemp("compiled")


@pytest.fixture
def scratch(tmp_path):
    return make_scratch(tmp_path)


def make_scratch(parent):
    folder = parent / "with a space"
    folder.mkdir()
    return folder


def launch(scratch, compiled, *options, **variables):
    env = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "PYTHONDONTWRITE"))}
    env |= {"TMPDIR": str(scratch), "PYTHONPYCACHEPREFIX": str(compiled), "COLUMNS": "100", **variables}
    command = [sys.executable, "-c", RUN, "demo", *options]
    return Process(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def leftovers(scratch):
    """Processes that were started with this directory as their place for temporary files."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(scratch).encode() in (process / "environ").read_bytes():
                found.append((process / "cmdline").read_bytes())
        except OSError:
            continue
    return found


@pytest.fixture(scope="module")
def done(tmp_path_factory, compiled):
    """One whole run, in an environment that would spoil it if it were used as it is."""
    folder = tmp_path_factory.mktemp("once")
    scratch, file = make_scratch(folder), folder / "spans.jsonl"
    hostile = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{free_port()}",
        "OTEL_EXPORTER_OTLP_TIMEOUT": "1",
        "OTEL_TRACES_SAMPLER": "always_off",
        "OTEL_SDK_DISABLED": "true",
        "DJANGO_SETTINGS_MODULE": "of.another.project",
        "http_proxy": f"http://127.0.0.1:{free_port()}",
    }
    to_file = ["--export-file", str(file)] if HAS_FILE_EXPORTER else []
    with launch(scratch, compiled, "--once", *to_file, **hostile) as process:
        out, err = process.communicate(timeout=WORKS_IN_THIS_TIME)
    return Done(process.returncode, out, err, scratch, file)


def test_it_shows_one_trace_from_the_form_into_the_worker(done):
    assert done.code == 0, done.err
    tree = done.out[: done.out.index("The rest of the visit")]
    assert tree.count("── trace ") == 1
    lines = ["POST orders/new/ 302 [demo-web", "apply_async/shop.tasks.send_invoice", "run/shop.tasks.send_invoice"]
    lines += ["[demo-worker", "linked to its publish", "apply_async/shop.tasks.tell_warehouse"]
    lines += ["run/shop.tasks.tell_warehouse", "linked to its publish"]
    places = []
    for line in lines:
        places.append(tree.index(line, places[-1] + 1 if places else 0))


def test_it_fits_a_window_of_100_columns(done):
    assert max(map(len, done.out.splitlines())) <= 100


def test_it_lists_the_other_requests_and_says_where_to_go_from_there(done):
    for request in ("GET  /accounts/login/ ", "POST /accounts/login/ ", "GET  /orders/ ", "GET  /rates/ "):
        assert request in done.out
    assert re.search(r"GET  /closed/ +503 .*maintenance answered, the view never ran", done.out)
    assert re.search(r"GET  /broken/ +500 .*KeyError: 'wool'", done.out)
    assert "docker compose up" in done.out
    assert "clew view" in done.out


def test_a_collector_that_is_down_is_one_line_and_no_failure(done):
    assert done.err.count("no spans could be sent on to http://127.0.0.1:") == 1
    assert "Traceback" not in done.err
    assert len(done.err.splitlines()) <= 6


def test_the_file_is_what_the_official_exporter_writes(done):
    if not HAS_FILE_EXPORTER:
        pytest.skip("the JSON file exporter needs SDK 1.44")
    requests = [json.loads(line) for line in done.file.read_text().splitlines()]
    assert all(list(request) == ["resourceSpans"] for request in requests)
    records = [
        record
        for line in done.file.read_bytes().splitlines()
        for record in from_otlp(parse_traces(line, JSON).resource_spans)
    ]
    trace = re.search(r"trace (\w{32})", done.out)[1]
    shown = [record for record in records if record.trace_id == trace]
    assert {record.service for record in shown} == {"demo-web", "demo-worker"}
    for run in (record for record in shown if record.kind == "CONSUMER"):
        publish = next(record for record in shown if record.span_id == run.parent_span_id)
        assert publish.kind == "PRODUCER"
        assert (publish.trace_id, publish.span_id) in [link[:2] for link in run.links]


def test_the_tree_has_queries_and_no_finding(done):
    tree = done.out[: done.out.index("The rest of the visit")]
    assert "INSERT shop_order  demo_site/views.py:" in tree
    assert re.search(r"trace \w{32}.* queries in [\d.]+ ms", tree.replace("\n── ", ""))
    assert "▲" not in tree


def test_it_leaves_nothing_behind(done):
    assert leftovers(done.scratch) == []
    assert list(done.scratch.iterdir()) == []


def test_keep_shows_what_comes_sends_it_on_and_ends_with_ctrl_c(scratch, compiled):
    received = []
    with Receiver(received.extend, grpc_port=0, http_port=None) as collector:
        process = launch(scratch, compiled, "--keep", OTEL_EXPORTER_OTLP_ENDPOINT=collector.grpc_endpoint)
        with process:
            out = read_until(process, "open  http://")
            url = re.search(r"open  (http://[\w.:]+)", out)[1]
            with pytest.raises(urllib.error.HTTPError) as answer:
                urllib.request.urlopen(f"{url}/closed/", timeout=30)
            trace = answer.value.headers["traceresponse"].split("-")[1]
            answer.value.close()
            read_until(process, trace)
            process.send_signal(signal.SIGINT)
            _, err = process.communicate(timeout=WORKS_IN_THIS_TIME)
    assert process.returncode == 130
    assert "Traceback" not in err
    assert trace in {record.trace_id for record in received}
    assert {record.service for record in received} == {"demo-web", "demo-worker"}
    assert leftovers(scratch) == []
    assert list(scratch.iterdir()) == []


def read_until(process, text):
    read = ""
    for line in process.stdout:
        read += line
        if text in line:
            return read
    raise AssertionError(read + process.stderr.read())


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_in_the_middle_leaves_nothing_behind(scratch, compiled, number):
    with launch(scratch, compiled) as process:
        until(lambda: list(scratch.glob("clew-demo-*/worker.log")))
        process.send_signal(number)
        _, err = process.communicate(timeout=WORKS_IN_THIS_TIME)
    assert process.returncode == 128 + number
    assert "Traceback" not in err
    assert leftovers(scratch) == []
    assert list(scratch.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children with their parent")
def test_when_the_demo_is_killed_its_processes_end_too(scratch, compiled):
    with launch(scratch, compiled) as process:
        until(lambda: list(scratch.glob("clew-demo-*/worker.log")))
        process.kill()
        process.communicate()
    until(lambda: not leftovers(scratch), 30)


@pytest.mark.redis
def test_over_redis(scratch, compiled):
    require("redis")
    queue = run_over("redis://127.0.0.1:6379/0", scratch, compiled)
    with redis.Redis() as client:
        assert client.keys(f"*{queue}*") == []


@pytest.mark.rabbitmq
def test_over_rabbitmq(scratch, compiled):
    require("rabbitmq")
    url = "amqp://guest:guest@127.0.0.1:5672//"
    queue = run_over(url, scratch, compiled)
    with kombu.Connection(url) as connection, pytest.raises(connection.channel_errors):
        connection.default_channel.queue_declare(queue, passive=True)


def run_over(url, scratch, compiled):
    # A long duration beside it would cut the name.
    with launch(scratch, compiled, "--broker", url, COLUMNS="200") as process:
        out, err = process.communicate(timeout=WORKS_IN_THIS_TIME)
    assert process.returncode == 0, err
    assert "run/shop.tasks.tell_warehouse" in out
    assert leftovers(scratch) == []
    return re.search(r"queue (clew-demo-\w+)", err)[1]
