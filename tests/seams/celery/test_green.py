"""Workers of the gevent and eventlet pools under `opentelemetry-instrument`: they work on, and every run arrives."""

from __future__ import annotations

from importlib.util import find_spec

import pytest

from clew.engine import green
from clew.export import exporters
from tests.celery_site.worker import answer_slowly
from tests.seams.celery.test_worker import assert_parented_and_linked, finished, ids, site, wait_for_finished

SLOW_SECONDS = 2.0


def require(pool):
    """Not imported here: eventlet then complains of every fork of this process."""
    if find_spec(pool) is None:
        pytest.skip(f"{pool} is not installed")


@pytest.mark.parametrize(
    ("broker", "protocol"),
    [
        pytest.param("redis", "grpc", marks=pytest.mark.redis),
        pytest.param("rabbitmq", "http", marks=pytest.mark.rabbitmq),
    ],
)
@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_every_run_arrives(tmp_path, monkeypatch, pool, broker, protocol):
    """With a slow collector: an export stops no greenlet, and the last one is waited for."""
    require(pool)
    answer_slowly(monkeypatch, SLOW_SECONDS)
    often = {"OTEL_BSP_SCHEDULE_DELAY": "200"}
    with site(tmp_path, broker, protocol, "-P", pool, "-c", "5", environment=often) as here:
        for _ in range(40):
            here.app.tasks["nap"].delay(0.1)
        here.app.tasks["child"].delay()
        wait_for_finished(here.worker, 41)
        here.worker.stop()
        expected = sorted(finished(here.worker))
        here.gathered.wait_for(lambda _: len(here.gathered.runs()) >= len(expected))
        assert ids(here.gathered.runs()) == expected
        assert_parented_and_linked(here)
        (work,) = [span for span in here.gathered.spans if span.name == "user work"]
        (run,) = [span for span in here.gathered.runs() if span.name == "run/child"]
        assert work.parent_span_id == run.span_id  # each greenlet has a context of its own
        assert "internal error" not in here.worker.log.read_text(errors="replace")


@pytest.mark.parametrize(
    ("words", "pool"),
    [
        (["python", "/venv/bin/celery", "-A", "shop", "worker", "-P", "gevent"], "gevent"),
        (["python", "-m", "celery", "-A", "shop", "worker", "--pool=eventlet", "-c", "9"], "eventlet"),
        (["python", "/venv/bin/celery", "-A", "shop", "worker", "-Peventlet"], "eventlet"),
        (["python", "/venv/bin/celery", "-A", "shop", "worker", "-P", "prefork"], ""),
        (["python", "/venv/bin/celery", "-A", "shop", "worker", "-P"], ""),
        (["python", "/venv/bin/celery", "-A", "shop", "beat"], ""),
        (["python", "manage.py", "worker", "-P", "gevent"], ""),
    ],
)
def test_the_pool_a_command_asks_for(monkeypatch, words, pool):
    monkeypatch.setattr("sys.orig_argv", words)
    assert green.pool_of_the_command() == pool


@pytest.mark.parametrize(
    ("library", "environment", "protocol", "is_said"),
    [
        ("gevent", {}, "otlp_proto_http", False),
        ("gevent", {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://collector:4317"}, "otlp_proto_grpc", True),
        ("eventlet", {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "otlp_proto_grpc", True),
        ("", {}, "otlp_proto_grpc", False),
    ],
)
def test_set_up_among_greenlets_it_exports_over_http(monkeypatch, library, environment, protocol, is_said):
    """gRPC waits in C, and every greenlet with it."""
    said = []
    for name in ("PROTOCOL", "TRACES_PROTOCOL", "ENDPOINT", "TRACES_ENDPOINT"):
        monkeypatch.delenv(f"OTEL_EXPORTER_OTLP_{name}", raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(green, "patched_by", lambda: library)
    monkeypatch.setattr(exporters.isolation, "warn", said.append)
    assert exporters.protocol_of("otlp") == protocol
    assert bool(said) is is_said
