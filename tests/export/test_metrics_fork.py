"""A worker's forked child has nothing of its parent's metrics. Real prefork workers, the SDK's own exporter."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest

from clew.engine import isolation
from clew.export import metrics_fork
from clew.seams.celery.message import metrics
from tests.seams.celery.test_worker import _connections, site, wait_for_finished  # noqa: F401 - a fixture

# The main process has not been forked: it has no id of its own.
MAIN = 0
# Only what each process sends as it ends.
CONSOLE = {"OTEL_METRICS_EXPORTER": "console", "OTEL_METRIC_EXPORT_INTERVAL": "3600000"}


def exported(log: str) -> dict[tuple[int, str], int]:
    """What each process has last said of each metric: how much was counted."""
    found: dict[tuple[int, str], int] = {}
    at = log.find('{\n    "resource_metrics"')
    while at >= 0:
        data, at = json.JSONDecoder().raw_decode(log, at)
        for of_resource in data["resource_metrics"]:
            pid = of_resource["resource"]["attributes"].get("process.pid", MAIN)
            for metric in (each for scope in of_resource["scope_metrics"] for each in scope["metrics"]):
                points = metric["data"]["data_points"]
                found[pid, metric["name"]] = sum(point.get("value", point.get("count")) for point in points)
        at = log.find('{\n    "resource_metrics"', at)
    return found


@pytest.mark.redis
def test_what_the_main_process_counted_is_not_sent_again_by_a_new_child(tmp_path):
    with site(tmp_path, "redis", "grpc", "-c", "1", "--max-tasks-per-child", "1", environment=CONSOLE) as here:
        for _ in range(4):
            here.app.tasks["add"].delay(1, 2)
        wait_for_finished(here.worker, 4)
        here.worker.stop()
        found = exported(here.worker.log.read_text(errors="replace"))
    counted: Counter[str] = Counter()
    for (_, name), count in found.items():
        counted[name] += count
    assert counted[metrics.CONSUMED] == counted[metrics.TASKS] == counted[metrics.PROCESS_DURATION] == 4
    assert [pid for pid, name in found if name == metrics.CONSUMED] == [MAIN]
    assert [pid for pid, name in found if name == metrics.CHILD_EXITS] == [MAIN]
    assert len({pid for pid, name in found if name == metrics.TASKS}) == 4


@pytest.mark.parametrize("consumer", [None, object()])
def test_a_provider_of_another_version_is_left_alone(consumer):
    class Provider:
        _measurement_consumer: Any = consumer

    assert isolation.is_strict
    metrics_fork._forget_counts(Provider())
