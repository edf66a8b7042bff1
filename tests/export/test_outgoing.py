"""Whether a collector can be reached."""

from __future__ import annotations

import pytest

from clew.export import outgoing
from tests.shared import refusing_port


@pytest.fixture
def refused():
    with refusing_port() as port:
        yield port


@pytest.mark.parametrize(
    ("endpoint", "expected"),
    [
        ("127.0.0.1:{}", False),
        ("http://127.0.0.1:{}/v1/traces", False),
        ("unix:///run/otel.sock", True),  # cannot be told
        ("dns:///collector:4317", True),
        ("", True),
    ],
)
def test_whether_a_collector_can_be_reached(refused, monkeypatch, endpoint, expected):
    monkeypatch.setattr(outgoing, "getproxies", dict)
    assert outgoing.can_connect(endpoint.format(refused), 5) is expected


def test_behind_a_proxy_it_cannot_be_told(refused, monkeypatch):
    monkeypatch.setattr(outgoing, "getproxies", lambda: {"http": "http://proxy:3128"})
    assert outgoing.can_connect(f"http://127.0.0.1:{refused}", 5) is True
