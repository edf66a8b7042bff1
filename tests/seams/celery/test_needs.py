"""A name that another version of a library has renamed costs one seam and one line; the site runs on."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib import import_module

import pytest
from opentelemetry.instrumentation.celery import version

from clew.seams import seams
from tests.celery_site.worker import DEADLINE
from tests.seams.celery import renamed

CONTRIB = "opentelemetry.instrumentation.celery"
HAS_SPAN_LINKS = tuple(map(int, version.__version__.split("b")[0].split("."))) >= (0, 65)
SPANS = ["apply_async/add", "apply_async/add", "run/add", "run/add"]
RENAMED = [
    *[(CONTRIB, f"_trace_{name}", "run") for name in ("prerun", "postrun", "failure", "retry")],
    *[(CONTRIB, f"_trace_{name}_publish", "publish") for name in ("before", "after")],
    *([(CONTRIB, "_use_span_links", "run")] if HAS_SPAN_LINKS else []),
    *[("billiard", name, "lifecycle") for name in ("_create_worker_process", "_join_exited_workers", "_trywaitkill")],
    ("billiard", "_on_ready_counters", "lifecycle"),
    ("billiard", "_should_have_exited", "fate"),
    ("billiard", "soft_timeout_sighandler", "time_limit"),
    ("celery", "_freeze_group_tasks", "canvas"),
    ("celery", "_process_task", "receive"),
    ("celery", "_announce_revoked", "fate"),
    ("celery", "_already_cancelled", "fate"),
    ("celery", "get_scheduler", "beat"),
    ("kombu", "_create_client", "polling"),
]


def site(*arguments: str) -> dict[str, object]:
    command = [sys.executable, "-m", renamed.__name__, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, timeout=2 * DEADLINE, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    ("package", "name", "seam", "is_contrib_first"),
    [(*row, is_first) for row in RENAMED for is_first in ((True, False) if row[0] == CONTRIB else (True,))],
)
def test_one_line_and_a_running_site(package, name, seam, is_contrib_first):
    found = site(package, name, str(is_contrib_first))
    (line,) = found["said"]
    assert line.startswith(f"clew: seam celery.{seam} is switched off: ")
    assert name in line
    assert found["done"] == [[3, 7], [2]]
    assert found["spans"] == SPANS


def test_nothing_renamed_nothing_said():
    assert site("celery", "no_such_name", "True") == {"said": [], "spans": SPANS, "done": [[3, 7], [2]]}


def is_installed(module):
    try:
        return bool(import_module(module))
    except ModuleNotFoundError:
        return False


def test_every_need_of_the_installed_versions_is_there():
    needs = {need for seam in seams() if seam.name.startswith("celery.") for need in seam.all_needs}
    installed = [need for need in needs if need.applies and is_installed(need.module)]
    found = [need for need in installed if not need.is_met_by(__import__(need.module, fromlist=["_"]))]
    assert not found
    assert len(needs) > 90
