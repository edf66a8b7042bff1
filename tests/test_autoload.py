"""Under `opentelemetry-instrument`: clew and the instrumentors it makes wait import nothing before the application."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from clew.cli.view.receiver import Receiver
from tests.test_bootstrap import printed, wrapped
from tests.test_servers import BIN, ROOT, fetch, free_port, wait_for

IMPORTED = """
    import json, sys
    libraries = {"amqp", "asgiref", "billiard", "celery", "django", "jinja2", "kombu", "rest_framework", "vine"}
    print(json.dumps(sorted(libraries.intersection(name.partition(".")[0] for name in sys.modules))))
"""


def test_nothing_is_imported_before_the_application_does(tmp_path):
    assert printed("import clew; clew.setup_tracing()" + "\n" + IMPORTED.replace("\n    ", "\n"))[0] == []
    done = wrapped(tmp_path, IMPORTED)
    assert (done.stdout.strip(), done.stderr) == ("[]", "")


INSTRUMENTED = """
    import json, os
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.site.settings"
    import django
    django.setup()
    from celery import Celery
    Celery("app")
    from opentelemetry.instrumentation.celery import CeleryInstrumentor
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    print(json.dumps([kind().is_instrumented_by_opentelemetry for kind in (DjangoInstrumentor, CeleryInstrumentor)]))
"""


def test_instrumentors_that_wait_come_in_their_time(tmp_path):
    done = wrapped(tmp_path, INSTRUMENTED)
    assert (json.loads(done.stdout), done.stderr) == ([True, True], "")


def test_a_disabled_instrumentor_does_not_come(tmp_path):
    done = wrapped(tmp_path, INSTRUMENTED, OTEL_PYTHON_DISABLED_INSTRUMENTATIONS="celery")
    assert (json.loads(done.stdout), done.stderr) == ([True, False], "")


def test_contrib_traces_where_clews_seams_are_off(tmp_path):
    done = wrapped(
        tmp_path,
        """
        import os
        os.environ["DJANGO_SETTINGS_MODULE"] = "tests.site.settings"
        import django
        django.setup()
        from django.conf import settings
        print(settings.MIDDLEWARE[0])
        """,
        CLEW_DJANGO_REQUEST="false",
    )
    assert done.stdout.strip().endswith("otel_middleware._DjangoMiddleware"), done.stderr


DISTRO = """
    from opentelemetry.instrumentation.distro import BaseDistro
    class Distro(BaseDistro):
        def _configure(self, **kwargs): pass
        def load_instrumentor(self, entry_point, **kwargs):
            more = {"request_hook": hook} if entry_point.name == "django" else {}
            super().load_instrumentor(entry_point, **kwargs, **more)
    def hook(span, request):
        print("hook", request.path)
"""


def test_a_distribution_that_loads_instrumentors_in_its_own_way(tmp_path):
    (tmp_path / "distro_of_a_vendor.py").write_text("\n".join(line[4:] for line in DISTRO.splitlines()))
    info = tmp_path / "vendor-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: vendor\nVersion: 1\n")
    (info / "entry_points.txt").write_text("[opentelemetry_distro]\nvendor = distro_of_a_vendor:Distro\n")
    done = wrapped(
        tmp_path,
        REQUEST,
        OTEL_PYTHON_DISTRO="vendor",
        PYTHONPATH=f"{tmp_path}:{os.getcwd()}",
    )
    assert (done.stdout.split(), done.returncode) == (["hook", "/plain/"], 0), done.stderr


REQUEST = """
    import os
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.site.settings"
    import django
    django.setup()
    from django.test import Client
    Client().get("/plain/")
"""
LATER = """
    from opentelemetry.instrumentation.django import DjangoInstrumentor
    DjangoInstrumentor().instrument(request_hook=lambda span, request: print("hook", request.path))
"""


@pytest.mark.parametrize("code", [LATER + REQUEST, REQUEST.replace("django.setup()", "django.setup()" + LATER)])
def test_hooks_that_the_site_gives_itself(tmp_path, code):
    done = wrapped(tmp_path, code)
    assert (done.stdout.split(), done.stderr) == (["hook", "/plain/"], "")


SERVERS = {
    "gunicorn": ("gevent", [str(BIN / "gunicorn"), "-k", "gevent", "-b", "127.0.0.1:PORT", "tests.green.site"]),
    "gevent.pywsgi": ("gevent", [sys.executable, "-m", "tests.green.program", "gevent", "PORT"]),
    "eventlet.wsgi": ("eventlet", [sys.executable, "-m", "tests.green.program", "eventlet", "PORT"]),
}


@contextlib.contextmanager
def serving(words, tmp_path: Path, endpoint: str):
    port = free_port()
    env = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "CLEW_", "DJANGO_"))}
    env |= {"OTEL_EXPORTER_OTLP_ENDPOINT": endpoint, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}
    env |= {"OTEL_METRICS_EXPORTER": "none", "OTEL_LOGS_EXPORTER": "none", "PYTHONPATH": str(ROOT)}
    env |= {"GREEN_SQLITE": str(tmp_path / "green.sqlite3"), "OTEL_BSP_SCHEDULE_DELAY": "100"}
    said = (tmp_path / "said").open("w")
    command = [BIN / "opentelemetry-instrument", *(word.replace("PORT", str(port)) for word in words)]
    with (
        said,
        subprocess.Popen(command, cwd=ROOT, env=env, stdout=said, stderr=said, start_new_session=True) as process,
    ):
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.postgres
@pytest.mark.parametrize("server", SERVERS)
def test_servers_of_greenlets_answer_pages_with_queries(tmp_path, server):
    library, words = SERVERS[server]
    if find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    received = []
    with (
        Receiver(received.extend, grpc_port=0, http_port=0) as receiver,
        serving(words, tmp_path, receiver.http_endpoint) as url,
    ):
        pages = [fetch(f"{url}/{alias}/") for alias in ("default", "postgres") * 3]
        wait_for(lambda: len(names(received)) >= 12)
    said = (tmp_path / "said").read_text()
    assert pages == [b"42"] * 6, said
    assert "internal error" not in said
    assert names(received) == ["GET <slug:alias>/"] * 6 + ["SELECT"] * 6, said


def names(received):
    """Of requests, and of queries that are the page's: Django itself asks new connections for their time zone."""
    queries = [record.name for record in received if "django.db.alias" in record.attributes]
    return sorted([*queries, *(record.name for record in received if record.kind == "SERVER")])
