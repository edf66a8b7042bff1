"""No span of its own: an `exception` event on a run that logged an exception as an error and yet succeeded.

We stand at `logging.Logger.filter`, the last place in `Logger.handle` that has returned before a handler runs: handlers
that look for the caller on the stack (loguru's, Sentry's) find no frame of ours there, and what a logger's own filter
drops does not count. A record without `exc_info` costs one test. What Celery, kombu and OpenTelemetry log themselves,
and Django of a request, is not the task's.
"""

from __future__ import annotations

import logging
import sys
from types import FrameType
from typing import Any

from clew import attributes as names
from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around
from clew.source import frames
from clew.source.call_site import CallSite, call_site, raised_at
from clew.story import local_trace, logged_errors
from clew.story.local_trace import LocalTrace
from clew.story.logged_errors import LoggedErrors

_MACHINERY = {"amqp", "billiard", "celery", "clew", "kombu", "opentelemetry", "vine"}
_OF_REQUESTS = ("django.request", "django.security", "django.server")
_MAX_FRAMES = 50


def _filtered(record: Any, result: Any) -> None:
    if record.exc_info and result and record.levelno >= logging.ERROR:
        _note(record)


def _note(record: Any) -> None:
    local = local_trace.current()
    if local is None or names.CELERY_TASK_NAME not in local.where or _is_not_the_tasks(record):
        return
    given = record.exc_info
    error = given[1] if type(given) is tuple and len(given) == 3 else None
    if not isinstance(error, BaseException):
        return  # logged outside an `except`
    errors = logged_errors.LOGGED.get(local)
    if errors is None:
        errors = logged_errors.LOGGED.put(local, LoggedErrors())
        if local.is_recording:
            local.at_end.append(lambda: _note_on_root(local, errors))
    is_librarys = not frames.is_application(record.pathname)
    errors.add(
        error,
        record.name,
        _line(record),
        raised_at(error.__traceback__),
        is_recording=local.is_recording,
        is_librarys=is_librarys,
    )


def _is_not_the_tasks(record: Any) -> bool:
    name = str(record.name)
    if name.startswith(_OF_REQUESTS):
        return True
    # An application may log under Celery's name.
    return name.partition(".")[0] in _MACHINERY and not frames.is_application(record.pathname)


def _line(record: Any) -> CallSite:
    """The application's line that logged, or that called the library which did; `stacklevel` counts."""
    frame: FrameType | None = sys._getframe()
    for _ in range(_MAX_FRAMES):
        if frame is None:
            break
        if frame.f_lineno == record.lineno and frame.f_code.co_filename == record.pathname:
            return call_site(frame) or CallSite(record.pathname, record.lineno, record.funcName or "")
        frame = frame.f_back
    return CallSite(record.pathname, record.lineno, record.funcName or "")


def _note_on_root(local: LocalTrace, errors: LoggedErrors) -> None:
    if local.task_end is not None and local.task_end[0] == "succeeded":
        for each in errors:
            local.root.span.add_event("exception", each.event, each.time_ns)


def _watch_loggers(signal: Any) -> Any:
    """Celery is imported: only then there are tasks."""
    SEAM.patch_attribute(logging.Logger, "filter", Around(note=_filtered))
    return signal


SEAM = Seam("celery.log", patches=(Patch("celery.signals", "task_prerun", _watch_loggers),))
