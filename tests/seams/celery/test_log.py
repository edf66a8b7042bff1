"""Exceptions that a task logs: on its run if it succeeds all the same, and nothing changes for whoever logs."""

from __future__ import annotations

import gc
import inspect
import logging
import threading
import uuid

import pytest
from celery.contrib.testing.worker import start_worker
from celery.utils.log import get_task_logger

from clew.seams.celery import log
from clew.story import logged_errors
from clew.story.logged_errors import LoggedErrors
from clew.testing import tracing
from tests.celery_site.app import make_app
from tests.celery_site.worker import DEADLINE
from tests.seams.celery.in_process import ran, runs_of, until

logger = logging.getLogger(f"{__name__}.shop")


@pytest.fixture
def task(eager):
    """Makes a task of a function and runs it at once; gives its result."""

    return lambda function: run_as_task(eager, function)


def run_as_task(app, function):
    @app.task(name="task", shared=False)
    def body():
        return function()

    return body.apply()


def events(trace, name="run/task"):
    found = [event.attributes for event in trace.named(name).events if event.name == "exception"]
    return [(each["exception.type"], each["exception.message"], each["exception.escaped"]) for each in found]


def raise_and(log_it, error=None):
    try:
        raise error or ValueError("token=abc123")
    except Exception as raised:
        log_it(raised)


WAYS = {
    "exception": lambda error: logger.exception("failed"),
    "error": lambda error: logger.error("failed", exc_info=True),
    "critical": lambda error: logger.critical("failed", exc_info=error),
    "log": lambda error: logger.log(logging.ERROR, "failed", exc_info=(type(error), error, error.__traceback__)),
    "task logger": lambda error: get_task_logger(__name__).exception("failed"),
    "root": lambda error: logging.exception("failed"),
    "Celery's name": lambda error: logging.getLogger("celery").exception("failed"),
    "adapter": lambda error: logging.LoggerAdapter(logger, {}).exception("failed"),
}


@pytest.mark.parametrize("way", WAYS)
def test_an_exception_logged_by_a_run_that_succeeds_is_an_event(trace, task, way):
    assert task(lambda: raise_and(WAYS[way]) or "done").result == "done"
    assert events(trace) == [("ValueError", "token=[redacted]", "False")]
    span = trace.named("run/task")
    assert span.status.is_unset
    assert "abc123" not in span.to_json()
    assert "Traceback" in span.events[0].attributes["exception.stacktrace"]
    assert span.start_time <= span.events[0].timestamp <= span.end_time


def silent(name):
    return lambda: raise_and(lambda error: logging.getLogger(name).exception("failed"))


NO_EVENT = {
    "a warning": lambda: raise_and(lambda error: logger.warning("failed", exc_info=True)),
    "no exception": lambda: raise_and(lambda error: logger.error("failed")),
    "outside an except": lambda: logger.error("failed", exc_info=True),
    "Django of a request": silent("django.request"),
}


@pytest.mark.parametrize("case", NO_EVENT)
def test_what_is_no_error_of_the_task_is_no_event(trace, task, case):
    task(NO_EVENT[case])
    assert events(trace) == []


@pytest.mark.parametrize("name", ["celery.worker", "kombu.connection", "opentelemetry.sdk.trace", "clew", "amqp"])
def test_what_the_machinery_logs_itself_is_no_event(trace, task, name, tmp_path):
    """A line of a file that is not the application's."""

    def logs():
        raise_and(lambda error: logging.getLogger(name).handle(record_of(error, name, logging.__file__)))

    task(logs)
    assert events(trace) == []


def record_of(error, name, path):
    given = (type(error), error, error.__traceback__)
    return logging.LogRecord(name, logging.ERROR, path, 1, "failed", (), given)


def test_a_library_that_logs_for_the_application_counts(trace, task):
    """Django's `send_robust` swallows what a receiver raises, and logs it."""
    task(lambda: raise_and(lambda error: logger.handle(record_of(error, "django.dispatch", logging.__file__))))
    assert events(trace) == [("ValueError", "token=[redacted]", "False")]


def test_a_run_that_fails_has_its_own_event_only(trace, task):
    def fails():
        raise_and(WAYS["exception"])
        raise KeyError("other")

    task(fails)
    assert [each[0] for each in events(trace)] == ["KeyError"]


def test_one_event_for_each_line_and_no_more_than_ten(trace, task):
    def logs():
        for number in range(30):
            raise_and(WAYS["exception"], type(f"Error{number}", (Exception,), {})())
            raise_and(WAYS["exception"])

    task(logs)
    assert len(events(trace)) == 10
    assert len([each for each in events(trace) if each[0] == "ValueError"]) == 1


def test_a_request_has_no_such_event(trace, task):
    """No task is running: nothing is kept."""
    raise_and(WAYS["exception"])
    assert trace.spans == ()


def test_a_thread_of_the_task_and_another_task_are_not_it(trace):
    """Two tasks at once in a real worker's threads: each has what it logged itself."""
    app = make_app(queue=f"clew-{uuid.uuid4().hex[:12]}")
    both = threading.Barrier(2, timeout=DEADLINE)

    @app.task(name="logging", shared=False)
    def logging_task():
        both.wait()
        raise_and(WAYS["exception"])
        thread = threading.Thread(target=raise_and, args=(WAYS["exception"], OSError("of nobody")))
        thread.start()
        thread.join()
        both.wait()

    @app.task(name="quiet", shared=False)
    def quiet():
        both.wait()
        both.wait()

    with start_worker(app, pool="threads", concurrency=2, perform_ping_check=False, shutdown_timeout=DEADLINE):
        ran(trace, lambda: (logging_task.delay(), quiet.delay()), "logging")
        until(lambda: runs_of(trace.spans, "quiet"))
    assert [each[0] for each in events(trace, "run/logging")] == ["ValueError"]
    assert events(trace, "run/quiet") == []


def test_an_eager_task_inside_a_task_keeps_its_own(trace, eager):
    @eager.task(name="inner", shared=False)
    def inner():
        raise_and(WAYS["exception"])

    @eager.task(name="outer", shared=False)
    def outer():
        inner.delay()

    outer.delay()
    assert [each[0] for each in events(trace, "run/inner")] == ["ValueError"]
    assert events(trace, "run/outer") == []


class FromStack(logging.Handler):
    """Finds who logged as loguru's documentation has it: the first frame that is not of the logging module."""

    def emit(self, record):
        frame = inspect.currentframe().f_back
        while frame.f_code.co_filename == logging.__file__:
            frame = frame.f_back
        self.found = frame.f_code.co_name


def test_handlers_find_the_caller_on_the_stack(trace, task):
    handler = FromStack()
    logger.addHandler(handler)
    try:

        def who_logs():
            logger.error("failed")

        task(who_logs)
    finally:
        logger.removeHandler(handler)
    assert handler.found == "who_logs"


def test_the_record_and_its_caller_are_as_they_were(trace, task, caplog):
    task(lambda: raise_and(WAYS["exception"]))
    (record,) = [each for each in caplog.records if each.name == logger.name]
    assert (record.pathname, record.funcName) == (__file__, "<lambda>")


def test_a_filters_answer_is_passed_on_and_what_it_drops_does_not_count(trace, task, caplog):
    dropping = logging.getLogger(f"{__name__}.dropping")
    dropping.addFilter(lambda record: False)
    task(lambda: raise_and(lambda error: dropping.exception("failed")))
    assert events(trace) == []
    assert not [each for each in caplog.records if each.name == dropping.name]


def test_a_filters_error_is_the_applications(trace, task):
    raising = logging.getLogger(f"{__name__}.raising")

    def refuse(record):
        raise LookupError("the filter's")

    raising.addFilter(refuse)
    assert isinstance(task(lambda: raise_and(lambda error: raising.exception("failed"))).result, LookupError)


def test_a_subclass_of_logger_is_seen_once(trace, task):
    class Own(logging.Logger):
        def handle(self, record):
            super().handle(record)

        def filter(self, record):
            return super().filter(record)

    own = Own("own")
    errors = []
    task(lambda: raise_and(lambda error: own.exception("failed")) or errors.append(held()))
    assert [each.count for each in errors[0]] == [1]


def held() -> LoggedErrors:
    return logged_errors.LOGGED.get(log.local_trace.current())


def test_a_str_that_logs_ends(trace, task):
    class Loud(Exception):
        def __str__(self):
            quiet.error("str", exc_info=self)
            return "loud"

    quiet = logging.getLogger(f"{__name__}.quiet")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False
    task(lambda: raise_and(lambda error: quiet.exception("failed"), Loud()))
    assert [each[1] for each in events(trace)] == ["loud"]


def test_the_exception_is_not_kept_alive(trace, task):
    class Held(Exception):
        pass

    quiet = logging.getLogger(f"{__name__}.not kept")
    quiet.addHandler(logging.NullHandler())
    quiet.propagate = False

    def logs():
        raise_and(lambda error: quiet.exception("failed"), Held())
        gc.collect()
        return sum(type(each) is Held for each in gc.get_objects())

    assert task(logs).result == 0
    assert len(events(trace)) == 1


def test_undone_the_logger_is_as_it_was():
    assert "filter" not in vars(logging.Logger)
    with tracing():
        assert "filter" in vars(logging.Logger)
        assert logging.Logger.filter.__name__ == "filter"
    assert "filter" not in vars(logging.Logger)


def test_switched_off(eager):
    with tracing(celery_log=False) as trace:
        run_as_task(eager, lambda: raise_and(WAYS["exception"]))
        assert "filter" not in vars(logging.Logger)
    assert events(trace) == []
