from __future__ import annotations

import dataclasses
import os
import signal
import sqlite3
import subprocess
import sys
import time

import pytest

import clew.cli
from clew.cli.demo import environment
from clew.cli.demo.drive import Step
from clew.cli.demo.export import open_outlets, to_readable
from clew.cli.demo.mistakes import MISTAKES
from clew.cli.demo.processes import DemoError, DemoProcess, Interrupts, stop_all
from clew.cli.demo.show import Show
from clew.cli.demo.spans import Inbox, missing
from clew.cli.view.span_record import SpanRecord
from clew.detectors import DETECTORS

RUN = "import sys; from clew.cli import main; sys.exit(main())"
TRACE, OTHER = "ab12" * 8, "cd34" * 8
POST = Step("POST", "/orders/new/", 302, TRACE)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("redis://127.0.0.1:1/0", "refused"),
        ("amqp://clerk:secret@127.0.0.1:1//", "refused"),
        ("nonsense://127.0.0.1", "nonsense"),
        ("sqs://", "missing"),
    ],
)
def test_a_broker_that_cannot_be_used_is_one_line(capsys, url, said):
    assert clew.cli.main(["demo", "--broker", url]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert said in err
    assert "secret" not in err


def test_a_file_that_cannot_be_written_is_one_line(capsys, tmp_path):
    pytest.importorskip("opentelemetry.exporter.otlp.json.file", reason="needs SDK 1.44")
    assert clew.cli.main(["demo", "--export-file", str(tmp_path / "no" / "file")]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert "no such file or directory" in err


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has it")
def test_a_file_on_a_disk_that_is_full_is_one_line(monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.json.file", reason="needs SDK 1.44")
    monkeypatch.delenv("OTEL_EXPORTER_OTLP_ENDPOINT", raising=False)
    said, unhandled = [], []
    monkeypatch.setattr("threading.excepthook", unhandled.append)
    (outlet,) = open_outlets("/dev/full", said.append)
    outlet.add([to_readable(span("GET /", "SERVER", 1))])
    outlet.close()
    assert (said, unhandled) == (["/dev/full could not be written"], [])


def test_redis_without_its_package_is_one_line():
    script = f"import sys; sys.modules['redis'] = None; {RUN}"
    command = [sys.executable, "-c", script, "demo", "--broker", "redis://127.0.0.1:1/0"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.count("\n") == 1
    assert "needs a Python package that is missing (pip install redis)" in done.stderr


@pytest.mark.parametrize("wrong", [["--wrong"], ["--once", "--keep"], ["--port", "70000"], ["nonsense"]])
def test_wrong_use_is_said_with_exit_code_two(capsys, wrong):
    assert clew.cli.main(["demo", *wrong]) == 2
    err = capsys.readouterr().err
    assert "usage: clew" in err
    assert wrong[-1] in err


@pytest.mark.parametrize(
    ("process", "name", "value", "said"),
    [
        ("worker", "CLEW_DEMO_BROKER", "nonsense://127.0.0.1", "CLEW_DEMO_BROKER is not redis://"),
        ("beat", "CLEW_DEMO_BROKER", "nonsense", "CLEW_DEMO_BROKER is not redis://"),
        ("web", "CLEW_DEMO_BROKER", "redis://clerk:secret@host:port/0", "CLEW_DEMO_BROKER is not redis://"),
        ("worker", "CLEW_DEMO_BROKER", "amqp://host:99999//", "CLEW_DEMO_BROKER is not redis://"),
        ("worker", "CLEW_DEMO_BROKER", "sqs://", "package that is missing"),
        ("web", "CLEW_DEMO_DATABASE", "shop.db", "CLEW_DEMO_DATABASE is not postgres://"),
        ("worker", "CLEW_DEMO_DATABASE", "mysql://me:secret@db/shop", "CLEW_DEMO_DATABASE is not postgres://"),
        ("web", "CLEW_DEMO_DATABASE", "postgres://me:secret@db:port/shop", "CLEW_DEMO_DATABASE is not postgres://"),
        ("web", "CLEW_DEMO_DATABASE", "postgres://me:secret@db/", "CLEW_DEMO_DATABASE is not postgres://"),
        ("beat", "CLEW_DEMO_DATABASE", "postgres://[db/shop", "CLEW_DEMO_DATABASE is not postgres://"),
        ("worker", "CLEW_DEMO_DIR", os.devnull, "CLEW_DEMO_DIR: no files can be made in"),
        ("web", "--host", "nowhere.invalid", "cannot listen on nowhere.invalid"),
    ],
)
def test_a_process_with_a_wrong_value_says_so_in_one_line(capsys, monkeypatch, tmp_path, process, name, value, said):
    monkeypatch.setattr("clew.cli.demo.become", lambda *_: pytest.fail("it was started"))
    monkeypatch.setenv("CLEW_DEMO_DIR", str(tmp_path))
    arguments = [name, value, "--port", "0"] if name.startswith("--") else []
    if not arguments:
        monkeypatch.setenv(name, value)
    assert clew.cli.main(["demo", process, *arguments]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert said in err
    assert "secret" not in err


@pytest.mark.parametrize("broker", ["redis://127.0.0.1/0", "amqp://guest@127.0.0.1//", "filesystem://"])
def test_the_folder_of_the_database_is_made_whatever_the_broker(monkeypatch, tmp_path, broker):
    """With Redis and no database: "unable to open database file"."""
    monkeypatch.setenv("CLEW_DEMO_DIR", str(tmp_path / "not" / "there"))
    monkeypatch.setenv("CLEW_DEMO_BROKER", broker)
    monkeypatch.delenv("CLEW_DEMO_DATABASE", raising=False)
    sqlite3.connect(environment.database()["NAME"]).close()
    assert environment.problem() == ""


@pytest.mark.parametrize("package", ["django", "celery"])
def test_without_django_or_celery_it_says_how_to_get_them(package):
    script = f"import sys; sys.modules[{package!r}] = None; {RUN}"
    done = subprocess.run([sys.executable, "-c", script, "demo"], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "pip install 'clew[demo]'" in done.stderr


@pytest.fixture
def other_process(tmp_path, monkeypatch):
    def make(code):
        real = subprocess.Popen
        monkeypatch.setattr(subprocess, "Popen", lambda _, **options: real([sys.executable, "-c", code], **options))
        made = DemoProcess("worker", tmp_path, os.environ, Interrupts())
        processes.append(made)
        return made

    processes = []
    yield make
    stop_all(processes)


def test_a_process_that_ends_before_it_is_ready_is_an_error_with_its_last_lines(other_process):
    process = other_process("print('one'); print('the reason'); raise SystemExit(3)")
    with pytest.raises(DemoError, match=r"worker process has ended with exit code 3.*\n    one\n    the reason$"):
        process.wait_until_ready()


def test_a_process_that_never_is_ready_is_an_error(other_process):
    process = other_process("import time; print('wait', flush=True); time.sleep(60)")
    with pytest.raises(DemoError, match=r"not ready after 0\.5 s"):
        process.wait_until_ready(0.5)


def all_gone(group):
    end = time.monotonic() + 5
    while time.monotonic() < end:
        os.killpg(group, 0)
        time.sleep(0.05)


def test_a_process_that_ignores_sigterm_ends_all_the_same_with_its_children(other_process):
    code = (
        "import os, signal, time; signal.signal(15, signal.SIG_IGN); os.fork(); print('clew demo: ready', flush=True)"
    )
    process = other_process(code + "; time.sleep(60)")
    process.wait_until_ready()
    stop_all([process], 0.2)
    with pytest.raises(ProcessLookupError):
        all_gone(process.pid)


def test_a_signal_waits_for_the_end_of_what_must_not_be_done_by_half():
    done = []

    def half_a_step(interrupts):
        with interrupts.shield():
            os.kill(os.getpid(), signal.SIGTERM)
            done.append("all of it")
        done.append("not this")

    with Interrupts() as interrupts, pytest.raises(SystemExit) as left:
        half_a_step(interrupts)
    assert left.value.code == 143
    assert done == ["all of it"]


def test_a_signal_while_a_process_is_asked_how_it_is_does_not_keep_it_from_being_ended(tmp_path, other_process):
    class Lock:
        """That of `Popen.poll`: the signal comes when it is just locked."""

        def __init__(self, lock):
            self.lock = lock

        def acquire(self, *arguments):
            acquired = self.lock.acquire(*arguments)
            os.kill(os.getpid(), signal.SIGHUP)
            return acquired

        def release(self):
            self.lock.release()

    process = other_process("import time; time.sleep(60)")
    lock = process._popen._waitpid_lock
    process._popen._waitpid_lock = Lock(lock)
    with process._interrupts, pytest.raises(SystemExit):
        process.check()
    process._popen._waitpid_lock = lock
    assert not lock.locked()


def test_only_the_first_signal_raises():
    with Interrupts():
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def span(name, kind, number, parent=0, service="demo-web", trace=TRACE, links=(), scope="clew.seams"):
    above, facts = f"{parent:016x}" if parent else "", {"links": links, "service": service, "scope": scope}
    return SpanRecord(trace, f"{number:016x}", above, name, kind, number, number + 1, **facts)


WHOLE = [
    span("POST orders/new/", "SERVER", 1),
    span("apply_async/shop.tasks.send_invoice", "PRODUCER", 2, 1),
    span("run/shop.tasks.send_invoice", "CONSUMER", 3, 2, "demo-worker"),
    span("apply_async/shop.tasks.tell_warehouse", "PRODUCER", 4, 3, "demo-worker"),
    span("run/shop.tasks.tell_warehouse", "CONSUMER", 5, 4, "demo-worker"),
]


def test_a_whole_trace_lacks_nothing():
    assert list(missing(POST, WHOLE)) == []


@pytest.mark.parametrize("lost", range(5))
def test_what_did_not_arrive_is_named(lost):
    lacking = "\n".join(missing(POST, WHOLE[:lost] + WHOLE[lost + 1 :]))
    name = WHOLE[lost].name.rpartition("/")[2]
    assert (name or "POST") in lacking


def test_a_trace_without_spans_of_clew_is_not_enough():
    stock = [dataclasses.replace(record, scope="opentelemetry.instrumentation") for record in WHOLE]
    lacking = list(missing(POST, stock))
    assert len(lacking) == 2
    assert all("clew's own spans" in text for text in lacking)


def test_a_run_in_a_trace_of_its_own_needs_a_link():
    run = span("run/shop.tasks.send_invoice", "CONSUMER", 3, 0, "demo-worker", OTHER)
    linked = span("run/shop.tasks.send_invoice", "CONSUMER", 3, 0, "demo-worker", OTHER, ((TRACE, f"{2:016x}", {}),))
    assert any("neither its parent nor linked" in text for text in missing(POST, [*WHOLE[:2], run]))
    assert not any("neither" in text for text in missing(POST, [*WHOLE[:2], linked]))
    inbox = Inbox(lambda _: None)
    inbox.add([linked])
    inbox.add(WHOLE[:2])
    assert inbox.story(TRACE) == [*WHOLE[:2], linked]


def test_of_a_page_with_a_mistake_every_task_is_waited_for():
    asked = dataclasses.replace(POST, path=MISTAKES[-1].path, mistake=MISTAKES[-1])
    assert list(missing(asked, WHOLE)) == []
    assert list(missing(asked, WHOLE[:4])) == [f"POST {asked.path}: the run of shop.tasks.tell_warehouse"]


def test_a_finding_that_is_not_there_is_named(capsys):
    events = ((f"clew.finding.{MISTAKES[0].finding}", 1, {"clew.finding.type": MISTAKES[0].finding}),)
    story = [
        (
            Step("GET", MISTAKES[0].path, 200, TRACE, mistake=MISTAKES[0]),
            [dataclasses.replace(WHOLE[0], events=events)],
        ),
        (Step("GET", MISTAKES[1].path, 200, TRACE, mistake=MISTAKES[1]), [WHOLE[0]]),
    ]
    assert Show().findings(story) == [MISTAKES[1].finding]
    assert capsys.readouterr().out.count("not found") == 1


def test_every_finding_has_a_page():
    """But those that need a broker with a visibility timeout or a registry, a cache elsewhere, or many requests."""
    assert {mistake.finding for mistake in MISTAKES} == set(DETECTORS) - {
        "no_consumer",
        "redelivery_risk",
        "memory_growth",
        "cache_get_in_loop",
        "hot_cache_key",
        "oversized_cache_value",
        "cache_stampede",
        "session_saved_on_every_request",
        # of event loops and of other services
        "thread_wait",
        "blocking_on_loop",
        "call_in_loop",
        "repeated_call",
    }


def test_a_request_that_was_not_traced_is_not_pretended_to_be():
    untraced = Step("GET", "/orders/", 200, "")
    assert Inbox(lambda _: None).wait([untraced], 0.1) == ["GET /orders/: the site did not trace it"]


def test_the_database_is_a_file_or_a_postgres(monkeypatch, tmp_path):
    monkeypatch.setenv("CLEW_DEMO_DIR", str(tmp_path))
    monkeypatch.delenv("CLEW_DEMO_DATABASE", raising=False)
    assert environment.database()["NAME"] == tmp_path / "shop.sqlite3"
    monkeypatch.setenv("CLEW_DEMO_DATABASE", "postgres://me:p%40ss@db:5433/shop")
    found = environment.database()
    assert (found["ENGINE"], found["HOST"], found["PORT"]) == ("django.db.backends.postgresql", "db", "5433")
    assert (found["NAME"], found["USER"], found["PASSWORD"]) == ("shop", "me", "p@ss")
    assert environment.replica()["NAME"] == tmp_path / "replica.sqlite3"
    monkeypatch.setenv("CLEW_DEMO_DATABASE", "mysql://db/shop")
    with pytest.raises(ValueError, match="postgres://"):
        environment.database()
