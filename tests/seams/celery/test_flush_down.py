"""What a collector that is down loses is counted, and no process waits for it for long."""

from __future__ import annotations

import contextlib
import re
import socket
from collections.abc import Iterator

import pytest

from tests.seams.celery.test_flush import NEVER
from tests.seams.celery.test_worker import site, wait_for_finished
from tests.shared import refusing_port

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def no_connection_is_made() -> Iterator[int]:
    """As behind a firewall that drops what it does not let through: the queue of connections is full."""
    with contextlib.ExitStack() as stack:
        server = stack.enter_context(socket.socket())
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        for _ in range(4):
            client = stack.enter_context(socket.socket())
            client.setblocking(False)
            client.connect_ex(server.getsockname())
        yield server.getsockname()[1]


@contextlib.contextmanager
def nothing_is_answered() -> Iterator[int]:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(50)
        yield server.getsockname()[1]


LOST = re.compile(r"clew: (\d+) spans? w\w+ lost: (?:http://)?127.0.0.1:\d+\S* (could not be reached|did not answer)")
WHY = {refusing_port: "could not be reached", no_connection_is_made: "could not be reached"}


@pytest.mark.parametrize("is_down", [refusing_port, no_connection_is_made, nothing_is_answered])
@pytest.mark.parametrize("protocol", ["grpc", "http"])
def test_what_a_collector_that_is_down_loses_is_counted(tmp_path, is_down, protocol):
    """And nobody waits for it longer than the settings say."""
    with is_down() as port:
        environment = {
            **NEVER,
            "OTEL_EXPORTER_OTLP_ENDPOINT": f"http://127.0.0.1:{port}",
            "CLEW_FLUSH_TIMEOUT_MS": "3000",
            "CLEW_FLUSH_UNREACHABLE_TIMEOUT_MS": "500",
            "CLEW_CELERY_LIFECYCLE": "false",
        }
        arguments = ("-c", "1", "--max-tasks-per-child", "1")
        with site(tmp_path, "filesystem", protocol, *arguments, environment=environment) as here:
            for number in range(3):
                here.app.tasks["add"].delay(number, 1)
            wait_for_finished(here.worker, 3)
            assert here.worker.stop() < 30  # two leave, 3.5 s at most each, and Celery takes its time
            log = here.worker.log.read_text(errors="replace")
    said = [(int(count), why) for count, why in LOST.findall(log)]
    assert sum(count for count, _ in said) == 3, log
    assert {why for _, why in said} == {WHY.get(is_down, "did not answer")}
    assert "internal error" not in log
