"""No secret leaves, whatever is said, by whomever, on whatever signal: read from the very bytes a collector gets."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from tests.export.test_signals import PLAIN, WRAPPER
from tests.processors.collectors import http_collector
from tests.services import require

pytestmark = pytest.mark.slow
CANARY = re.compile(rb"cAnary7x(\d+)")
ALL = {"OTEL_METRICS_EXPORTER": "otlp", "OTEL_LOGS_EXPORTER": "otlp"}
DISTRO = {"OTEL_PYTHON_LOGGING_AUTO_INSTRUMENTATION_ENABLED": "true", "CANARY_POSTGRES": "1", "CANARY_REDIS": "1"}


def sent(endpoint, arguments, env):
    base = {key: value for key, value in os.environ.items() if not key.startswith(("OTEL_", "CLEW_", "DJANGO_"))}
    otlp = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": endpoint,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_RESOURCE_ATTRIBUTES": "deployment.password=cAnary7x900,STRIPE_KEY=cAnary7x902,note=token%3DcAnary7x901",
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_REQUEST": ".*",
        "OTEL_INSTRUMENTATION_HTTP_CAPTURE_HEADERS_SERVER_RESPONSE": ".*",
    }
    return subprocess.run(
        [sys.executable, *arguments[0], "tests/export/canary_site.py", *arguments[1]],
        capture_output=True,
        text=True,
        timeout=120,
        env={**base, **otlp, **ALL, "PYTHONPATH": os.getcwd(), **env},
    )


@pytest.mark.parametrize(
    ("arguments", "env"),
    [
        ((WRAPPER, []), PLAIN),
        (([], ["setup"]), {}),
        (
            ([], ["setup"]),
            {"OTEL_TRACES_SAMPLER": "always_on", "OTEL_SEMCONV_STABILITY_OPT_IN": "http/dup,database/dup"},
        ),
        (([], ["setup"]), {"OTEL_TRACES_SAMPLER": "traceidratio"}),
        pytest.param((WRAPPER, []), DISTRO, marks=[pytest.mark.postgres, pytest.mark.redis]),
        pytest.param(
            (WRAPPER, []),
            {**DISTRO, "OTEL_SEMCONV_STABILITY_OPT_IN": ""},
            marks=[pytest.mark.postgres, pytest.mark.redis],
        ),
    ],
    ids=["plain", "in code", "old and new names", "spans of the SDK", "beside the distribution", "old names"],
)
def test_no_canary_leaves(arguments, env):
    if "CANARY_REDIS" in env:
        require("redis")
        require("postgres")
    with http_collector() as collector:
        done = sent(collector.endpoint, arguments, env)
    assert done.returncode == 0, done.stderr
    assert collector.names, done.stderr
    assert collector.metrics, done.stderr
    assert collector.logs, done.stderr
    found = {}
    for body in collector.bodies:
        for match in CANARY.finditer(body):
            found.setdefault(int(match[1]), set()).add(body[max(0, match.start() - 60) : match.end() + 10])
    assert sorted(found) == [], found
    assert b"/reset/MQ/[redacted]/" in b"".join(collector.bodies)
