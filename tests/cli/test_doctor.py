from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace

import pytest
from celery import Celery, _state
from kombu import Connection, Exchange, Queue

import clew.cli
from clew.cli.doctor import check as doctor_check
from clew.cli.doctor import conf as doctor_conf
from clew.cli.doctor import export as doctor_export
from clew.cli.doctor import export_answer as doctor_export_answer
from clew.cli.doctor import queues as doctor_queues
from clew.cli.doctor import routes as doctor_routes
from clew.cli.doctor import seams as doctor_seams
from clew.cli.doctor import settings as doctor_settings
from clew.cli.doctor import versions as doctor_versions
from clew.cli.doctor import workers as doctor_workers
from clew.cli.doctor.broker import Broker, QueueState, look, unreachable
from clew.cli.doctor.check import Check, listed, within
from clew.cli.doctor.export_answer import Answer
from clew.cli.doctor.project import Project
from clew.cli.doctor.workers import Worker
from clew.cli.reason import reason
from clew.cli.terminal import Terminal
from clew.cli.view.receiver import Receiver
from clew.seams import SEAMS
from tests.processes import Process
from tests.services import require

pytestmark = pytest.mark.slow
RUN = "import sys; from clew.cli import main; sys.exit(main())"
BROKERS = [
    pytest.param("redis://:hunter2@127.0.0.1:6379/11", marks=pytest.mark.redis, id="redis"),
    pytest.param("amqp://guest:guest@127.0.0.1:5672//", marks=pytest.mark.rabbitmq, id="rabbitmq"),
]
SETTINGS = """
import os
print("settings talk")
SECRET_KEY = "x"
INSTALLED_APPS = ["shop"]
CELERY_BROKER_URL = os.environ["SHOP_BROKER"]
CELERY_TASK_DEFAULT_QUEUE = os.environ["SHOP_QUEUE"]
CELERY_TASK_ROUTES = {"shop.tasks.mail": {"queue": os.environ["SHOP_QUEUE"] + ".mail"}}
CELERY_TASK_IGNORE_RESULT = True
from clew import setup_tracing
setup_tracing("shop")
"""
CELERY = """
import os
from celery import Celery, _state
os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")
app = Celery("shop")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.autodiscover_tasks()
"""
TASKS = """
import os
from celery import shared_task
@shared_task
def mail(): pass
if "SHOP_OLD" not in os.environ:
    @shared_task
    def fresh(): pass
"""


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch):
    for name in [name for name in os.environ if name.startswith(("CLEW_", "OTEL_", "DJANGO_", "CELERY_"))]:
        monkeypatch.delenv(name)


@pytest.fixture
def receiver():
    spans = []
    with Receiver(spans.extend, grpc_port=0, http_port=0, on_problem=lambda line: None) as started:
        yield started
    assert spans == []  # looking leaves nothing in a backend


@pytest.fixture
def site(tmp_path, receiver):
    """A site's directory, and what runs `clew doctor` in it."""
    (tmp_path / "shop").mkdir()
    files = {"settings": SETTINGS, "celery": CELERY, "tasks": TASKS, "__init__": ""}
    for name, text in files.items():
        (tmp_path / "shop" / f"{name}.py").write_text(text)
    (tmp_path / "manage.py").write_text('os.environ.setdefault("DJANGO_SETTINGS_MODULE", "shop.settings")\n')
    queue = f"doctor-{uuid.uuid4().hex[:8]}"
    env = {"SHOP_BROKER": "memory://", "SHOP_QUEUE": queue, "OTEL_EXPORTER_OTLP_ENDPOINT": receiver.grpc_endpoint}
    return SimpleNamespace(path=tmp_path, queue=queue, env={**os.environ, **env})


@pytest.fixture(autouse=True)
def no_shared_tasks(monkeypatch):
    """`shared_task` puts a task on every app of the process: other tests' as well."""
    own = {made for made in _state._on_app_finalizers if made.__module__ == "celery.app.builtins"}
    monkeypatch.setattr(_state, "_on_app_finalizers", own)


def start(site, *options, **variables):
    command = [sys.executable, "-c", RUN, "doctor", *options]
    pipe = subprocess.PIPE
    env = {**site.env, **variables}
    return Process(command, cwd=site.path, env=env, text=True, stdout=pipe, stderr=pipe)


def doctor(site, *options, **variables):
    with start(site, "--json", *options, **variables) as process:
        out, err = process.communicate(timeout=60)
    assert "hunter2" not in out + err
    return process.returncode, [Check(**check) for check in json.loads(out)["checks"]], err


def about(checks, topic, level=""):
    return [check for check in checks if check.topic == topic and level in ("", check.level)]


def only(checks, topic, level=""):
    (found,) = about(checks, topic, level)
    return found


@contextlib.contextmanager
def queues(broker, *names):
    """A connection; what was left under these names is gone in the end."""
    with Connection(broker) as connection:
        try:
            yield connection
        finally:
            channel = connection.default_channel
            for name in names:
                if broker.startswith("amqp"):
                    channel.queue_delete(name)
                    channel.exchange_delete(name)
                else:
                    channel.client.delete(
                        "_kombu.binding_deadlines", name, f"_kombu.binding.{name}", f"_kombu.binding_permanent.{name}"
                    )


def size(connection, name):
    queue = Queue(name, Exchange(name), routing_key=name)
    return queue(connection.default_channel).queue_declare(passive=True).message_count


# The whole command


def test_a_site_in_order(site):
    code, checks, err = doctor(site)
    assert (code, err) == (0, "settings talk\n")
    assert "Django" in only(checks, "versions").text
    assert [check.text for check in about(checks, "project")] == [
        "settings shop.settings (manage.py)",
        "Celery app shop, 2 tasks",
    ]
    assert only(checks, "settings").level == only(checks, "exporter").level == "ok"
    assert only(checks, "broker").text.startswith("memory:// works within one process")


@pytest.mark.parametrize("broker", BROKERS)
def test_messages_that_nobody_reads(site, broker):
    require("redis" if broker.startswith("redis") else "rabbitmq")
    mail = f"{site.queue}.mail"
    with queues(broker, site.queue, mail) as connection:
        exchange = Exchange(mail)
        for _ in range(3):
            connection.Producer().publish(
                {}, exchange=exchange, routing_key=mail, declare=[Queue(mail, exchange, routing_key=mail)]
            )
        code, checks, _ = doctor(site, SHOP_BROKER=broker)
        assert code == 1
        assert "@" not in only(checks, "broker").text
        problem = only(checks, "queues", "problem")
        assert f"reads queue '{mail}': 3 messages wait (shop.tasks.mail)" in problem.text
        assert problem.fix == f"start `celery -A shop worker -Q {mail}`"
        assert f"reads queue '{site.queue}'" in only(checks, "queues", "warning").text
        assert size(connection, mail) == 3
        if broker.startswith("amqp"):
            assert look(_app(broker), [site.queue], 5).queues[site.queue] == QueueState(0, 0, exists=False)


@pytest.mark.parametrize("broker", BROKERS)
def test_a_worker_that_reads_one_queue_and_lacks_a_task(site, broker):
    require("redis" if broker.startswith("redis") else "rabbitmq")
    with queues(broker, site.queue, f"{site.queue}.mail"), worker(site, broker):
        code, checks, _ = doctor(site, "--timeout", "8", SHOP_BROKER=broker)
    assert code == 0
    found = {check.level: check.text for check in about(checks, "queues")}
    assert found["ok"] == f"queue '{site.queue}': no messages wait, 1 reader (shop.tasks.fresh)"
    assert f"reads queue '{site.queue}.mail'" in found["warning"]
    (own,) = (check.text for check in about(checks, "workers", "ok") if check.text.startswith(f"old-{site.queue}"))
    assert own.endswith(f" reads {site.queue}")
    assert "discards what it does not know: shop.tasks.fresh" in only(checks, "workers", "warning").text


@contextlib.contextmanager
def worker(site, broker):
    env = {**site.env, "SHOP_BROKER": broker, "SHOP_OLD": "1", "OTEL_SDK_DISABLED": "true"}
    command = [sys.executable, "-m", "celery", "-A", "shop", "worker", "-l", "INFO", "-P", "solo"]
    command += ["-Q", site.queue, "-n", f"old-{site.queue}@%h", "--without-mingle", "--without-gossip"]
    log = site.path / "worker.log"
    with log.open("w") as out:
        process = subprocess.Popen(command, cwd=site.path, env=env, stdout=out, stderr=out)
    try:
        deadline = time.monotonic() + 60
        while "ready." not in log.read_text():
            assert process.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
        yield
    finally:
        process.terminate()
        process.wait(20)


def test_what_cannot_be_reached_is_one_line_each(site):
    variables = {"SHOP_BROKER": "amqp://me:hunter2@127.0.0.1:1//", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    code, checks, _ = doctor(site, **variables)
    assert code == 1
    assert "amqp://127.0.0.1:1// cannot be used" in only(checks, "broker").text
    assert only(checks, "exporter").text == "http://127.0.0.1:1 (grpc) refuses connections"


@pytest.mark.parametrize("broker", BROKERS)
def test_no_worker_at_all_is_a_problem(site, broker):
    require("redis" if broker.startswith("redis") else "rabbitmq")
    with queues(broker, site.queue, f"{site.queue}.mail"):
        code, checks, _ = doctor(site, SHOP_BROKER=broker)
    assert code == 1
    assert only(checks, "workers", "problem").fix == "is one running? `celery -A shop worker`"


@pytest.mark.parametrize("broker", BROKERS)
def test_a_wrong_password_is_not_a_broker_that_is_away(broker):
    require("redis" if broker.startswith("redis") else "rabbitmq")
    scheme, _, rest = broker.partition("://")
    app = _app(f"{scheme}://me:hunter2@{rest.rpartition('@')[2]}")
    with pytest.raises(Exception, match=r"invalid|ACCESS_REFUSED") as error:
        look(app, [], 5)
    found = unreachable(app, error.value)
    assert "answers, but authentication failed" in found.text
    assert found.fix == "correct user and password in the setting broker_url"
    assert "hunter2" not in found.text


@pytest.mark.parametrize(
    ("variables", "code", "said"),
    [
        ({"OTEL_SERVICE_NAME": "web"}, "", "spans carry the service name 'web'"),
        ({"OTEL_RESOURCE_ATTRIBUTES": "a=b, service.name=web"}, "", "spans carry the service name 'web'"),
        ({}, 'setup_tracing(\n    service_name="web")', "spans carry the service name 'web' where wsgi.py is run"),
        ({"DJANGO_SETTINGS_MODULE": "shop.settings"}, "", "no service name is given; look for 'shop' in the backend"),
        ({}, "", "no service name is given; look for unknown_service:python in the backend"),
    ],
)
def test_the_service_name_that_spans_carry(monkeypatch, tmp_path, variables, code, said):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "wsgi.py").write_text(code)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert only(doctor_settings.check(Project(), is_automatic=True), "service").text == said


def test_under_opentelemetry_instrument_manage_py_comes_too_late_for_a_name(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("DJANGO_SETTINGS_MODULE", "shop.settings")
    project = Project(is_settings_in_environment=False)
    name = "'shop', under opentelemetry-instrument 'unknown_service:python'"
    text = only(doctor_settings.check(project, is_automatic=True), "service").text
    assert text == f"no service name is given; look for {name} in the backend"


def test_silent_servers_are_not_waited_for(site):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        variables = {"SHOP_BROKER": f"amqp://127.0.0.1:{port}//", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
        began = time.monotonic()
        options = ("--timeout", "1")
        code, checks, _ = doctor(site, *options, **variables, OTEL_EXPORTER_OTLP_ENDPOINT=f"http://127.0.0.1:{port}")
    assert code == 1
    assert time.monotonic() - began < 60  # 2 s, and what starting Python takes on a busy machine
    assert "does not answer in time" in only(checks, "exporter").text
    assert only(checks, "broker").level == "problem"


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("settings", "1 / 0", "the settings shop.settings cannot be imported: ZeroDivisionError"),
        ("settings", "import clew\nclew.setup_tracing(task_parnt='link')", "unknown setting 'task_parnt'"),
        ("settings", "INSTALLED_APPS = ['nowhere']", "Django cannot be set up with shop.settings"),
        ("celery", "raise SystemExit(3)", "Celery app shop: it cannot be imported: SystemExit: 3"),
        ("celery", "app = 1", "TypeError: shop.celery is a int, not a Celery app"),
        ("tasks", "import nowhere", "its tasks cannot be imported: ModuleNotFoundError: No module named 'nowhere'"),
    ],
)
def test_a_project_that_does_not_start(site, name, text, said):
    (site.path / "shop" / f"{name}.py").write_text(text)
    code, checks, err = doctor(site)
    assert code == 1
    assert said in only(checks, "project", "problem").text
    assert "Traceback" not in err
    assert only(checks, "exporter").level == "ok"


def test_without_a_project(site, tmp_path):
    (tmp_path / "manage.py").unlink()
    code, checks, _ = doctor(site)
    assert code == 1
    assert "DJANGO_SETTINGS_MODULE is not set" in only(checks, "project", "problem").text
    assert "no Celery app" in only(checks, "project", "warning").text
    code, checks, _ = doctor(site, "--settings-module", "no.such", "--app", "shop.celery:app")
    assert code == 1
    assert "No module named 'no'" in only(checks, "project", "problem").text


def test_ctrl_c_ends_it_quietly(site):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        broker = f"amqp://127.0.0.1:{silent.getsockname()[1]}//"
        with start(site, "--timeout", "60", SHOP_BROKER=broker) as process:
            assert any(line.startswith("ok       seams") for line in process.stdout)
            with silent.accept()[0]:
                process.send_signal(signal.SIGINT)
                _, err = process.communicate(timeout=20)
    assert process.returncode == 130
    assert "Traceback" not in err


def test_wrong_use_is_refused(capsys):
    assert clew.cli.main(["doctor", "--timeout", "soon"]) == 2
    assert "is not a number of seconds" in capsys.readouterr().err


def test_a_terminal_gets_lines_that_fit(capsys):
    from clew.cli.doctor import _print

    check = Check("queues", "problem", "nobody reads queue 'caf\u00e9': " + "12 messages wait " * 6, "start one " * 9)
    _print(check, Terminal(width=80, ascii_only=True), wraps=True)
    out = capsys.readouterr().out
    assert max(map(len, out.splitlines())) <= 80
    assert out.isascii()
    assert out.startswith("problem  queues    nobody reads")
    _print(check, Terminal(width=80), wraps=False)
    assert len(capsys.readouterr().out.splitlines()) == 1


# The exporter


def export_check(monkeypatch, protocol, endpoint):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_PROTOCOL", protocol)
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    (found,) = doctor_export.check(5)
    return found


def test_both_protocols_are_tried(monkeypatch, receiver):
    assert export_check(monkeypatch, "grpc", receiver.grpc_endpoint).level == "ok"
    assert export_check(monkeypatch, "http/protobuf", receiver.http_endpoint).level == "ok"


def test_the_wrong_port(monkeypatch, receiver):
    found = export_check(monkeypatch, "http/protobuf", receiver.grpc_endpoint)
    assert "speaks grpc: the wrong protocol" in found.text
    assert found.fix.startswith("OTEL_EXPORTER_OTLP_PROTOCOL=grpc, or the port for http/protobuf (often 4318)")
    found = export_check(monkeypatch, "grpc", receiver.http_endpoint)
    assert "speaks http/protobuf: the wrong protocol" in found.text
    for protocol, url in (("grpc", receiver.grpc_endpoint), ("http/protobuf", receiver.http_endpoint)):
        found = export_check(monkeypatch, protocol, url.replace("http:", "https:"))
        assert "speaks plain text, not TLS" in found.text


@pytest.mark.parametrize(
    ("status", "level", "fix"),
    [(401, "problem", "OTEL_EXPORTER_OTLP_HEADERS"), (404, "problem", "4318"), (503, "warning", "takes no spans now")],
)
def test_an_answer_that_is_no_yes(monkeypatch, status, level, fix):
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        found = export_check(monkeypatch, "http/protobuf", f"http://me:hunter2@127.0.0.1:{server.server_port}")
        server.shutdown()
    assert (found.level, f"answers {status}" in found.text, fix in found.fix) == (level, True, True)


def test_endpoints_that_are_nearly_right(monkeypatch):
    explained = doctor_export_answer.explained
    assert "write http://here:4318" in export_check(monkeypatch, "http/protobuf", "here:4318").fix
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://here:4318/v1/traces")
    assert "leave it out" in explained("http/protobuf", "http://here", Answer(status="404")).fix
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://here:4318")
    assert "end it with /v1/traces" in explained("http/protobuf", "http://here", Answer(status="404")).fix
    assert "host name" in explained("grpc", "http://here", Answer(network="no such host")).text
    assert "not trusted" in explained("grpc", "https://here", Answer(error="CERTIFICATE_VERIFY_FAILED")).text


@pytest.mark.parametrize(
    ("exporter", "level"), [("none", "problem"), ("console", "warning"), ("no_such", "problem"), ("otlp_x", "problem")]
)
def test_other_exporters(monkeypatch, exporter, level):
    monkeypatch.setenv("OTEL_TRACES_EXPORTER", exporter)
    assert [check.level for check in doctor_export.check(1)] == [level]


# Settings, versions, seams


def _levels(**options):
    """Of the lines about settings: the name has one of its own."""
    return [check.level for check in about(doctor_settings.check(Project(), **options), "settings")]


@pytest.mark.parametrize(
    ("variable", "value", "level"),
    [
        ("OTEL_SDK_DISABLED", "true", "problem"),
        ("CLEW_ENABLED", "false", "problem"),
        ("CLEW_TASK_PARNT", "link", "problem"),
        ("CLEW_CELERY_RUN", "false", "warning"),
        ("OTEL_TRACES_SAMPLER", "always_off", "problem"),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "redis,clew", "problem"),
        ("OTEL_PYTHON_DISABLED_INSTRUMENTATIONS", "django", "warning"),
        ("OTEL_PYTHON_DJANGO_INSTRUMENT", "False", "problem"),
        ("OTEL_PROPAGATORS", "none", "problem"),
        ("OTEL_PROPAGATORS", "b3", "ok"),
    ],
)
def test_what_switches_tracing_off(monkeypatch, variable, value, level):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv(variable, value)
    assert _levels(is_automatic=True) == [level]


@pytest.mark.parametrize(("ratio", "level"), [("0", "problem"), ("0.1", "warning"), ("1", "ok"), ("x", "warning")])
def test_sampling(monkeypatch, ratio, level):
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_traceidratio")
    monkeypatch.setenv("OTEL_TRACES_SAMPLER_ARG", ratio)
    assert _levels(is_automatic=True) == [level]


def test_nothing_sets_tracing_up(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OTEL_SERVICE_NAME", "shop")
    first, *_ = found = doctor_settings.check(Project())
    assert "opentelemetry-instrument" in first.text
    # Who follows the README is not warned.
    assert {check.level for check in found} == {"ok"}
    (tmp_path / "wsgi.py").write_text("# setup_tracing(\n    setup_tracing('shop')\n")
    assert _levels() == ["ok"]


def test_versions(monkeypatch):
    assert doctor_versions.numbers("5.3.0b1") == (5, 3, 0)
    old = {"django": "4.1", "celery": "", "opentelemetry-sdk": "1.45.0"}
    monkeypatch.setattr(doctor_versions, "installed", lambda package: old.get(package, "0.66b2"))
    assert [check.level for check in doctor_versions.check()] == ["ok", "problem", "warning"]


def test_who_else_stands_there(monkeypatch):
    monkeypatch.setitem(sys.modules, "ddtrace", SimpleNamespace())
    client = SimpleNamespace(options={"traces_sample_rate": 0.2})
    monkeypatch.setitem(sys.modules, "sentry_sdk", SimpleNamespace(get_client=lambda: client))
    texts = [check.text for check in doctor_seams.check(Project())]
    assert texts[0].endswith(f" of {len(SEAMS)} would stand")
    assert any("Datadog is loaded too" in text for text in texts)
    assert any("Sentry's tracing" in text for text in texts)


# Routes, queues, workers


def _nothing():
    pass


def _app(broker="memory://", **conf):
    app = Celery("shop", broker=broker, set_as_current=False)
    app.conf.update(task_default_queue="main", **conf)
    for name in ("mail", "report", "clean"):
        app.task(name=name, shared=False, acks_late=name == "report")(_nothing)
    return app


def test_each_task_is_routed_as_celery_would():
    queue = Queue("feeds", Exchange("feeds", "topic"), routing_key="feed.in")
    app = _app(
        task_queues=[Queue("main"), queue],
        task_routes={"mail": {"queue": "mails"}, "clean": {"exchange": "feeds", "routing_key": "feed.in"}},
    )
    assert doctor_routes.routes(app).tasks == {"main": ["report"], "mails": ["mail"], "feeds": ["clean"]}


def test_routes_that_fail():
    app = _app(task_create_missing_queues=False, task_routes={"mail": {"queue": "mails"}})
    found = doctor_routes.routes(app)
    assert found.tasks == {"main": ["clean", "report"]}
    assert "sending mail fails" in only(found.checks, "queues", "problem").text

    def router(name, *_, **__):
        raise KeyError(name)

    assert len(about(doctor_routes.routes(_app(task_routes=(router,))).checks, "queues", "warning")) == 3


def test_queues_of_a_broker_that_says_nothing():
    found = doctor_routes.Routes({"main": ["mail"]})
    project = Project(app_name="shop")
    checks = doctor_queues.judged(project, Broker("sqs", "sqs://", {"main": QueueState()}), found, {})
    assert [check.text for check in checks] == [
        "queue 'main': messages not known (mail)",
        "how many messages wait is not known for sqs",
    ]
    workers = {"w": Worker(frozenset({"main"}), frozenset({"mail", "report", "clean", "more"}))}
    checks = doctor_queues.judged(project, Broker("redis", "", {"main": QueueState(1)}), found, workers)
    assert checks[0].text == "queue 'main': 1 message waits, 1 reader (mail)"
    registered = {"main": QueueState(1, registered=2)}
    checks = doctor_queues.judged(project, Broker("redis", "", registered), found, {})
    assert checks[0].text == "queue 'main': 1 message waits, 2 readers (mail)"
    assert doctor_workers.outdated(workers, {"main": ["new"], "other": ["x"]})[0].text.endswith("know: new")


def test_settings_that_run_tasks_twice():
    app = _app("redis://", task_always_eager=True)
    assert [check.text.partition(" ")[0] for check in doctor_conf.check(app)] == ["task_always_eager:", "acks_late"]
    assert doctor_conf.check(_app("redis://", task_time_limit=60)) == []
    options = {"visibility_timeout": 30}
    texts = [check.text for check in doctor_conf.check(_app("redis://", broker_transport_options=options))]
    assert "(30 s) run twice: report" in texts[0]
    assert texts[1].endswith("(30 s) and run twice: clean, mail, report")
    assert doctor_conf.check(_app("amqp://")) == []


def test_a_broker_that_needs_a_package_or_has_no_setting():
    found = unreachable(_app("redis://"), ModuleNotFoundError("no", name="redis"))
    assert "needs a missing Python package" in found.text
    assert found.fix == "pip install redis"
    app = _app("amqp://me:hunter/2@here//")
    with pytest.raises(ValueError, match="hunter") as error:
        look(app, [], 1)
    assert "hunter" not in unreachable(app, error.value).text
    app = Celery("bare", set_as_current=False)
    assert "broker_url is not set" in unreachable(app, OSError("refused")).fix
    assert "p@ss" not in unreachable(_app("amqp://me:p@ss@here//"), OSError("p@ss was refused")).text


# The small parts


def test_one_line_for_anything():
    assert reason(ValueError("a\nb token=abc", 1)).count("\n") == 0
    assert reason(OSError("redis://:hunter2@here said hunter2"), ["hunter2"]).count("hunter2") == 0
    assert listed("edcba") == "a, b, c and 2 more"
    with pytest.raises(TimeoutError, match=r"no answer within 0\.01 s"):
        within(0.01, lambda: time.sleep(0.5))
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)

    def broken():
        raise ModuleNotFoundError("no", name="redis")

    assert doctor_check.guarded("broker", broken)[0].fix == "pip install redis"
    assert doctor_check.guarded("broker", lambda: 1 / 0)[0].level == "warning"
