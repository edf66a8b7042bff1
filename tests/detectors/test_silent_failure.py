"""A task that succeeds, and yet something has failed or was never done."""

from __future__ import annotations

import asyncio
import gc
import logging
import warnings

import pytest
from celery import Task

from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.detectors import troubles
from tests.detectors.shared import found, said_by, said_on, unsampled
from tests.seams.celery.test_worker import _connections, site  # noqa: F401 - a fixture

TYPE = "silent_failure"
NEVER_AWAITED = pytest.mark.filterwarnings("ignore:coroutine .* was never awaited:RuntimeWarning")
logger = logging.getLogger(__name__)


@pytest.fixture(autouse=True)
def _no_coroutine_is_left(caplog):
    """A cycle of Celery's or a logged traceback holds it: Python would warn of it in another test."""
    yield
    caplog.get_records("call").clear()
    collect_quietly()


def collect_quietly():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        gc.collect()


@pytest.fixture
def app():
    app = make_app(task_always_eager=True)
    troubles.declare(app)
    return app


def run_once(app, function, **options):
    @app.task(name="task", shared=False, **options)
    def body():
        return function()

    return body.apply()


def test_detects_a_logged_exception(trace, app):
    app.tasks["logs"].delay()
    (finding,) = found(trace, TYPE)
    assert finding.message == (
        f"logs logged ValueError (password=[redacted] is wrong) at detectors/troubles.py:{finding.site.line} and "
        "succeeded all the same: nobody who waits for it or counts failures hears of the error"
    )
    assert finding.fix.startswith("raise it again after logging, or let the task be tried again (autoretry_for")
    assert finding.severity == "warning"
    assert finding.site.function.endswith(".logs")
    raised = finding.evidence.pop("raised_at")
    assert raised.rpartition(":")[0] == finding.site.path
    assert finding.evidence == {"task": "logs", "exception": "ValueError", "count": 1, "logger": "shop"}
    assert said_on(trace, "run/logs") == [TYPE]
    assert trace.named("run/logs").attributes["clew.findings"] == (TYPE,)


def test_detects_a_loop_once_with_its_count(trace, app):
    app.tasks["logs"].delay(7)
    (finding,) = found(trace, TYPE)
    assert " 7 times at " in finding.message
    assert len([each for each in trace.named("run/logs").events if each.name == "exception"]) == 1


def test_detects_each_line(trace, app):
    def two():
        for _ in range(2):
            try:
                troubles.fetch()
            except ValueError:
                logger.exception("first")
        try:
            int("x")
        except ValueError as error:
            logger.error("second", exc_info=error)

    run_once(app, two)
    first, second = found(trace, TYPE)
    assert [first.evidence["count"], second.evidence["count"]] == [2, 1]
    assert first.site.line < second.site.line


def test_detects_it_in_an_unsampled_run(app):
    assert [each.type for each in unsampled(app.tasks["logs"].delay)] == [TYPE]


def test_detects_it_in_a_real_child_of_which_nothing_secret_leaves(tmp_path):
    with site(tmp_path, "filesystem", "grpc", "-P", "prefork", "-c", "1", "-I", troubles.__name__) as here:
        for name in ("logs", "logs_and_retries", "coroutine", "add"):
            here.app.send_task(name, (1, 1) if name == "add" else ())
        here.gathered.wait_for(lambda spans: sum(span.kind == "CONSUMER" for span in spans) >= 5)
        here.worker.stop()
        runs = here.gathered.runs()
    assert sorted((run.name, len(said_by(run, TYPE))) for run in runs) == [
        ("run/add", 0),
        ("run/coroutine", 1),
        ("run/logs", 1),
        ("run/logs_and_retries", 0),
        ("run/logs_and_retries", 0),
    ]
    (run,) = [run for run in runs if run.name == "run/logs"]
    assert (run.status, run.attributes["celery.outcome"]) == ("UNSET", "succeeded")
    assert [name for name, _, _ in run.events] == ["exception", "clew.finding.silent_failure"]
    assert "hunter2" not in str(run)
    assert here.worker.log.read_text().count("was never awaited") == 1


@pytest.mark.parametrize("name", ["logs_and_fails", "logs_and_retries"])
def test_no_false_positive_for_a_run_that_fails_or_is_tried_again(trace, app, name):
    app.tasks[name].delay()
    assert not found(trace, TYPE)


def test_no_false_positive_for_what_is_logged_below_error_or_without_the_exception(trace, app):
    def tolerates():
        try:
            troubles.fetch()
        except ValueError as error:
            logger.warning("expected", exc_info=True)
            logger.info("expected", exc_info=error)
            logger.error("said, not shown: %s", error)
        logger.error("nothing is handled", exc_info=True)

    run_once(app, tolerates)
    assert not found(trace, TYPE)


COROUTINES = {
    "coroutine": (
        "coroutine returned a coroutine that nobody awaits: Celery does not run `async def` tasks, nothing of it was "
        "done; ",
        "make the task a plain def that calls it by asyncio.run(...) or asgiref's async_to_sync(...)",
    ),
    "async_generator": (
        "async_generator returned an async generator that nobody iterates: Celery does not run `async def` tasks, "
        "nothing of it was done; ",
        "make the task a plain def that calls it by asyncio.run(...) of a function that iterates it",
    ),
}


@NEVER_AWAITED
@pytest.mark.parametrize("name", COROUTINES)
def test_detects_what_nobody_awaits(trace, app, name):
    app.tasks[name].delay()
    (finding,) = found(trace, TYPE)
    assert (finding.message, finding.fix) == (COROUTINES[name][0] + "yet it counts as succeeded", COROUTINES[name][1])
    assert finding.site.path == troubles.__file__
    assert finding.site.function.endswith(name)
    assert trace.named(f"run/{name}").attributes["celery.outcome"] == "succeeded"
    assert said_on(trace, f"run/{name}") == [TYPE]


@NEVER_AWAITED
@pytest.mark.parametrize("name", COROUTINES)
@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_detects_what_cannot_be_stored(trace, name, serializer):
    """With a result backend Celery fails to encode it: an error that tells nobody what to do."""
    app = make_app(backend="cache+memory://", task_always_eager=True, result_serializer=serializer)
    app.conf.task_store_eager_result = True
    troubles.declare(app)
    app.tasks[name].delay()
    (finding,) = found(trace, TYPE)
    assert finding.message == COROUTINES[name][0] + "which cannot be stored as a result"
    run = trace.named(f"run/{name}")
    assert run.attributes["celery.outcome"] == "failed"
    assert run.attributes["error.type"] == "kombu.exceptions.EncodeError"


@NEVER_AWAITED
def test_detects_it_in_an_unsampled_run_too(app):
    assert [each.type for each in unsampled(app.tasks["coroutine"].delay)] == [TYPE]


def never_awaited(app):
    collect_quietly()
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        app.tasks["coroutine"].delay()
        gc.collect()
    return [str(each.message) for each in seen]


def test_pythons_own_warning_comes_as_without_us(app):
    without = never_awaited(app)
    with tracing() as trace:
        assert never_awaited(app) == without
        assert found(trace, TYPE)
    assert len(without) == 1
    assert without[0].endswith("was never awaited")


def test_no_false_positive_for_a_coroutine_that_is_run(trace, app):
    async def work():
        await asyncio.sleep(0)
        return 1

    assert run_once(app, lambda: asyncio.run(work())).result == 1
    assert not found(trace, TYPE)


def test_no_false_positive_for_a_base_class_that_awaits(trace, app):
    class Awaiting(Task):
        def __call__(self, *args, **kwargs):
            return asyncio.run(self.run(*args, **kwargs))

    @app.task(name="awaited", base=Awaiting, shared=False)
    async def awaited():
        return 1

    assert awaited.apply().result == 1
    assert not found(trace, TYPE)


def test_no_false_positive_for_another_result_that_cannot_be_stored(trace):
    app = make_app(backend="cache+memory://", task_always_eager=True)
    app.conf.task_store_eager_result = True
    run_once(app, object)
    assert trace.named("run/task").attributes["error.type"] == "kombu.exceptions.EncodeError"
    assert not found(trace, TYPE)


@pytest.mark.parametrize("serializer", ["json", "pickle"])
def test_no_false_positive_for_a_coroutine_that_was_to_be_sent(trace, serializer):
    """The task fails, and with an error of the same kind, but it returned nothing."""
    app = make_app()

    async def work():
        pass

    def sends():
        coroutine = work()
        try:
            app.send_task("add", (1, coroutine), serializer=serializer)
        finally:
            coroutine.close()

    run_once(app, sends)
    assert trace.named("run/task").attributes["error.type"] == "kombu.exceptions.EncodeError"
    assert not found(trace, TYPE)


def looks_at_a_lazy_result():
    app, looks = make_app(task_always_eager=True), []

    class Lazy:
        @property
        def __class__(self):
            looks.append(1)
            return Lazy

        def __repr__(self):
            looks.append(1)
            return "lazy"

    run_once(app, Lazy)
    return len(looks)


def test_a_lazy_result_is_left_alone():
    """Celery looks at it, for its log; we do not."""
    without = looks_at_a_lazy_result()
    with tracing() as trace:
        assert looks_at_a_lazy_result() == without
    assert not found(trace, TYPE)
