"""`celery beat` and `celery worker -B` under `opentelemetry-instrument`: each due entry starts a trace of its own."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import celery.beat
import pytest
from celery.beat import Scheduler, SchedulingError

from clew.cli.view.receiver import SpanRecord
from clew.engine import isolation
from clew.seams.celery import beat
from clew.spans import scope as spans
from clew.testing import tracing
from tests.celery_site.worker import BIN, Worker
from tests.seams.celery import schedule
from tests.seams.celery.test_worker import Site, _connections, site  # noqa: F401 - a fixture

pytestmark = pytest.mark.filterwarnings("ignore:Call to 'get_connection':DeprecationWarning")

OFTEN = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
FULL = [
    "INTERNAL beat entry every second",
    "  PRODUCER apply_async/add",
    "    CONSUMER run/add",
]


class Beat(Worker):
    """A `celery beat` beside the site's worker."""

    def __init__(self, here: Site, folder: Path, *arguments: str, entries: str = "every second") -> None:
        super().__init__("", "", "", folder)
        self._environment = {**here.worker._environment, "CELERY_SITE_ENTRIES": entries, "OTEL_SERVICE_NAME": "beat"}
        self._command = [str(BIN / "opentelemetry-instrument"), "celery", "-A", schedule.__name__, "beat", "-l", "INFO"]
        self._command += ["-s", str(folder / "schedule"), "--pidfile=", *arguments]

    def wait_for_log(self, text: str) -> None:
        super().wait_for_log("beat: Starting" if text == " ready." else text)


def forest(found: list[SpanRecord]) -> list[list[str]]:
    """For each trace, its tree."""
    trees: dict[str, list[str]] = {}

    def walk(parent: str, trace_id: str, depth: int) -> None:
        for span in found:
            if (span.trace_id, span.parent_span_id or "") == (trace_id, parent):
                error = " ERROR" if span.status == "ERROR" else ""
                trees[trace_id].append(f"{'  ' * depth}{span.kind} {span.name}{error}")
                walk(span.span_id, trace_id, depth + 1)

    for span in found:
        if span.trace_id not in trees:
            trees[span.trace_id] = []
            walk("", span.trace_id, 0)
    return list(trees.values())


def normalised(span: SpanRecord) -> dict[str, Any]:
    """Its attributes; times and ids by their form, paths by their file."""
    shown = {}
    for key, value in span.attributes.items():
        value = re.sub(r"^[0-9a-f]{32}$", "<trace>", re.sub(r"^[0-9a-f]{16}$", "<span>", str(value)))
        shown[key] = value.rpartition("/")[2] if key == "code.file.path" else value
    assert float(shown.pop("celery.beat.delay_ms", 0)) >= 0
    return shown


def complete(all_: list[SpanRecord]) -> list[list[str]]:
    return [tree for tree in forest(all_) if tree == FULL]


@pytest.mark.parametrize(
    "broker",
    [pytest.param("redis", marks=pytest.mark.redis), pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)],
)
def test_a_due_entry_is_a_trace_from_beat_to_the_run(tmp_path, broker):
    with site(tmp_path, broker, "grpc", "-P", "solo", environment=OFTEN) as here:
        with Beat(here, tmp_path, entries="every second,nightly"):
            here.gathered.wait_for(lambda all_: len(complete(all_)) >= 2)
        here.worker.stop()
        found = here.gathered.spans
    assert {tuple(tree) for tree in forest(found)} >= {tuple(FULL), ("INTERNAL beat tick",)}
    entries = sorted((span for span in found if span.name == "beat entry every second"), key=lambda span: span.start_ns)
    ticks = {span.span_id: span for span in found if span.name == "beat tick"}
    assert normalised(entries[0]) == {
        "celery.beat.entry": "every second",
        "celery.beat.schedule": "<freq: 1.00 second>",
        "celery.beat.scheduler": "celery.beat.PersistentScheduler",
        "celery.beat.total_run_count": "0",
        "celery.beat.tick.trace_id": "<trace>",
        "celery.beat.tick.span_id": "<span>",
        "celery.task_name": "add",
        "code.function.name": "tests.celery_site.app._plain_tasks.<locals>.add",
        "code.file.path": "app.py",
        "code.line.number": str(entries[0].attributes["code.line.number"]),
    }
    assert [span.attributes["celery.beat.total_run_count"] for span in entries[:2]] == [0, 1]
    assert {span.scope for span in [*entries, *ticks.values()]} == {beat.__name__}
    for entry in entries:
        tick = ticks[entry.attributes["celery.beat.tick.span_id"]]
        assert [link[:2] for link in entry.links] == [(tick.trace_id, tick.span_id)]
        assert [link[:2] for link in tick.links] == [(entry.trace_id, entry.span_id)]
        assert tick.attributes["celery.beat.entry_trace_ids"] == (entry.trace_id,)
        assert tick.attributes["celery.beat.entries"] == ("every second",)
        assert tick.attributes["celery.beat.scheduled_count"] == (
            2 if broker == "redis" else 3
        )  # and a clean-up of results


@pytest.mark.redis
def test_beat_inside_a_worker_loses_nothing_either(tmp_path):
    """Its process leaves by os._exit; the batch waits for five seconds, unless we flush."""
    arguments = ("-P", "solo", "-B", "-s", str(tmp_path / "schedule"), "-I", schedule.__name__)
    more = {"CELERY_SITE_ENTRIES": "every second", "OTEL_BSP_SCHEDULE_DELAY": "60000"}
    with site(tmp_path, "redis", "http", *arguments, environment=more) as here:
        here.worker.wait_for_log("succeeded")
        here.worker.stop()
        found = here.gathered.spans
    assert FULL in forest(found)
    pids = {span.resource["process.pid"] for span in found if span.name.startswith("beat")}
    assert len(pids) == 1
    assert pids.isdisjoint({span.resource["process.pid"] for span in found if span.name == "run/add"})


def scheduler_of(app: Any, monkeypatch: Any, kind: type[Scheduler], entries: str) -> Scheduler:
    monkeypatch.setenv("CELERY_SITE_ENTRIES", entries)
    schedule.declare(app)
    service = celery.beat.Service(app, scheduler_cls=kind)
    found = service.scheduler
    for entry in found.schedule.values():
        entry.last_run_at -= entry.schedule.run_every * 3
    return found


@pytest.mark.parametrize("kind", [Scheduler, schedule.OwnScheduler])
def test_a_scheduler_with_methods_of_its_own_tells_an_entry_once(app, monkeypatch, kind):
    with tracing() as trace:
        scheduler = scheduler_of(app, monkeypatch, kind, "every second")
        assert scheduler.tick() == 0
        assert scheduler.tick() > 0
        assert trace.tree() == "beat tick\nbeat entry every second\n  PRODUCER apply_async/add"
        entry = trace.named("beat entry every second")
        assert entry.attributes["celery.beat.scheduler"].endswith(kind.__name__)
        assert 2000 <= entry.attributes["celery.beat.delay_ms"] < 60_000
        scheduler.close()


def test_a_publish_that_fails_ends_the_entry_with_its_error(app, monkeypatch):
    with tracing() as trace:
        scheduler = scheduler_of(app, monkeypatch, Scheduler, "unsendable")
        scheduler.tick()
        assert trace.tree() == "beat tick\nbeat entry unsendable ERROR\n  PRODUCER apply_async/add ERROR"
        assert trace.named("beat entry unsendable").attributes["error.type"] == "celery.beat.SchedulingError"
        scheduler.close()


def test_a_tick_that_fails_says_so(app, monkeypatch):
    with tracing() as trace:
        scheduler = scheduler_of(app, monkeypatch, schedule.OwnScheduler, "unsendable")
        with pytest.raises(SchedulingError):
            scheduler.tick()
        assert trace.tree() == "beat tick ERROR\nbeat entry unsendable ERROR\n  PRODUCER apply_async/add ERROR"
        scheduler.close()


def test_a_tick_that_takes_long_is_told(app, monkeypatch):
    with tracing() as trace:
        monkeypatch.setattr(beat, "_LONG_NS", 0)
        Scheduler(app).tick()
        assert trace.tree() == "beat tick"


def test_a_tick_with_nothing_due_is_silent(app):
    with tracing() as trace:
        assert Scheduler(app).tick() > 0
        assert not trace.spans


def test_a_schedule_that_knows_no_remaining_time_has_no_delay(app, monkeypatch):
    with tracing() as trace:
        scheduler = scheduler_of(app, monkeypatch, Scheduler, "every second")
        monkeypatch.setattr(type(scheduler.schedule["every second"].schedule), "remaining_estimate", None)
        scheduler.apply_async(scheduler.schedule["every second"])
        assert "celery.beat.delay_ms" not in trace.named("beat entry every second").attributes
        scheduler.close()


def test_an_error_of_ours_does_not_reach_beat(app, monkeypatch):
    monkeypatch.setattr(isolation, "is_strict", False)
    monkeypatch.setattr(beat, "_described", lambda *_: 1 / 0)
    with tracing() as trace:
        scheduler = scheduler_of(app, monkeypatch, Scheduler, "every second")
        assert scheduler.tick() == 0
        assert {span.name for span in trace.spans} - {"beat tick"} == {"apply_async/add"}  # a slow tick is told
        scheduler.close()


@pytest.mark.parametrize("is_light", [True, False])
def test_both_kinds_of_spans_are_linked(app, monkeypatch, is_light):
    with tracing() as trace:
        spans.pipeline().allows_light_roots = is_light
        scheduler = scheduler_of(app, monkeypatch, Scheduler, "every second")
        scheduler.tick()
        tick, entry = trace.named("beat tick"), trace.named("beat entry every second")
        assert [link.context.span_id for link in entry.links] == [tick.context.span_id]
        assert [link.context.span_id for link in tick.links] == [entry.context.span_id]
        scheduler.close()


def test_the_undo_restores_the_identical_objects(app, monkeypatch):
    places = [(Scheduler, "tick"), (Scheduler, "apply_async")]
    places += [(schedule.OwnScheduler, "tick"), (schedule.OwnScheduler, "apply_async")]
    places += [(celery.beat.Service, "start"), (celery.beat.Service, "get_scheduler")]
    before = [vars(owner)[name] for owner, name in places]
    with tracing():
        scheduler_of(app, monkeypatch, schedule.OwnScheduler, "every second")
        assert all(vars(owner)[name] is not found for (owner, name), found in zip(places, before, strict=True))
    assert [vars(owner)[name] for owner, name in places] == before


def test_switched_off_it_is_silent(app, monkeypatch):
    with tracing(celery_beat=False) as trace:
        scheduler = scheduler_of(app, monkeypatch, Scheduler, "every second")
        scheduler.tick()
        assert trace.tree() == "PRODUCER apply_async/add"
        scheduler.close()
