"""`process.memory.delta` and `memory_growth` of web servers' workers, each a real one."""

from __future__ import annotations

import os

import pytest

from clew.cli.view.receiver import Receiver
from tests.test_servers import COMMANDS, fetch, serving

pytestmark = pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="no /proc")
MIB = 1 << 20


def visited(command, route, count=130):
    """The requests' spans, and what is found of the memory."""
    received = []
    limit = {"CLEW_MEMORY_GROWTH_THRESHOLD_MB": "16"}
    with (
        Receiver(received.extend, grpc_port=0, http_port=0) as receiver,
        serving(command, "http/protobuf", receiver, **limit) as (url, _),
    ):
        for _ in range(count):
            fetch(f"{url}/{route}/")
    spans = [record for record in received if record.kind == "SERVER"]
    assert len(spans) == count
    assert all("process.memory.delta" in record.attributes for record in spans)
    found = [held for record in spans for name, _, held in record.events if name == "clew.finding.memory_growth"]
    return spans, found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "route", "limit"),
    [
        ("gunicorn --max-requests", "leaks", 400),
        ("gunicorn --threads", "leaks", 400),
        ("gunicorn uvicorn worker", "aleaks", 400),
        ("uvicorn --limit-max-requests", "leaks", 400),
        ("uvicorn", "aleaks", 0),
    ],
)
def test_detects_a_worker_that_leaks(command, route, limit):
    spans, found = visited(command, route)
    assert found
    finding = found[0]
    assert finding["clew.finding.route"] == f"{route}/"
    assert finding["clew.finding.share"] > 0.9
    assert 400 < finding["clew.finding.per_request_kib"] < 600
    assert finding["clew.finding.pid"] == spans[0].resource["process.pid"]
    assert (
        f" MiB over {finding['clew.finding.about'].split(' MiB over ')[1].split()[0]} requests, "
        in finding["clew.finding.about"]
    )
    assert f"in requests of {route}/; it holds " in finding["clew.finding.about"]
    assert finding.get("clew.finding.max_requests", 0) == limit
    assert (f"the server replaces it after {limit} requests" in finding["clew.finding.about"]) == bool(limit)
    assert "--max-requests 1000" in finding["clew.finding.fix"]
    assert sum(span.attributes["process.memory.delta"] for span in spans) > 50 * MIB


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "route"),
    [
        ("gunicorn --max-requests", "fills"),
        ("gunicorn --max-requests", "forgets"),
        ("uvicorn", "forgets"),
        ("uvicorn", "aplain"),
    ],
)
def test_no_false_positive(command, route):
    assert visited(command, route)[1] == []


@pytest.mark.slow
@pytest.mark.parametrize(
    "command",
    [
        "gunicorn --max-requests",
        "gunicorn --threads",
        "gunicorn uvicorn worker",
        "uvicorn --limit-max-requests",
    ],
)
def test_the_last_request_of_a_worker_says_so(command, monkeypatch):
    monkeypatch.setitem(COMMANDS, command, ["12" if word == "400" else word for word in COMMANDS[command]])
    received = []
    with (
        Receiver(received.extend, grpc_port=0, http_port=0) as receiver,
        serving(command, "http/protobuf", receiver) as (url, _),
    ):
        for _ in range(12):
            fetch(f"{url}/forgets/")
    told = [record.attributes.get("process.recycled_after", 0) for record in received if record.kind == "SERVER"]
    assert sorted(told) == [0] * 11 + [12]
