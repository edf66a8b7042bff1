"""`silent_failure`: a task succeeded, and what it was to do has failed, or was never done.

Two kinds, told at the end of the run. An exception was logged as an error (`logger.exception`, `exc_info=`; the seam
celery.log notes it) and the task went on to succeed: nobody who waits for the task, counts its failures or would try it
again hears of it. Or the task returned a coroutine: Celery does not await `async def` tasks, so nothing of it ran; with
`ignore_result` that is a SUCCESS, with a result backend a failure to encode the coroutine, and it is said of both, but
not where the application's own code was sending one. The
coroutine itself is left alone: only its type is looked at, and Python's own warning comes as it would. Reported though
it may be meant: an exception that is expected and logged as an error all the same. Not found: errors that are handled
besides (a fallback, a default, another attempt, an error that is kept or raised again: see `source/handlers.py`) or
that a library logs; errors logged without their exception; tasks that fail, are tried again or ignored; coroutines that
a library or the task's base class awaits.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Coroutine
from typing import Any

from clew import attributes as names
from clew.engine import needs
from clew.engine.redaction.exception_event import message_of
from clew.source import frames, handlers
from clew.source.call_site import CallSite
from clew.source.code_location import code_attributes
from clew.story import logged_errors
from clew.story.detector import Detector
from clew.story.findings import Finding
from clew.story.logged_errors import LoggedError
from clew.story.task_run import TaskRun

_TYPE = "silent_failure"
needs.declare(
    __name__,
    *needs.functions("kombu.exceptions", "EncodeError"),
    consequence="silent_failure does not see that a task with a result backend returned a coroutine",
)
_PLAIN = (type(None), bool, int, float, str, bytes, list, tuple, dict, set)
_UNENCODABLE = re.compile(r"\b(coroutine|async_generator)\b")
_HOW = {
    "coroutine": "asyncio.run(...) or asgiref's async_to_sync(...)",
    "async_generator": "asyncio.run(...) of a function that iterates it",
}


def _on_task_end(run: TaskRun) -> None:
    if run.outcome == "succeeded":
        errors = logged_errors.LOGGED.get(run.local)
        if errors is not None:
            for logged in errors:
                if _is_lost(logged):
                    _report_logged(run, logged)
    kind = _never_awaited(run)
    if kind:
        _report_coroutine(run, kind)


def _is_lost(logged: LoggedError) -> bool:
    """Whether nothing but the log knows of the error."""
    fate = handlers.fate_inside(logged.steps)
    if fate == handlers.NOT_CAUGHT and logged.is_librarys:
        # A library that logs has gone on in its own way; Django's "robust" ones have not.
        return logged.logger.startswith("django.")
    return fate != handlers.HANDLED


def _report_logged(run: TaskRun, logged: LoggedError) -> None:
    count, site = logged.count, logged.site
    what = f"{logged.type} ({logged.message})" if logged.message else logged.type
    times = "" if count == 1 else f" {count} times"
    evidence: dict[str, Any] = {
        "task": run.task_name,
        "exception": logged.type,
        "count": count,
        "logger": logged.logger,
    }
    if logged.raised_at is not None:
        evidence["raised_at"] = str(logged.raised_at)
    finding = Finding(
        _TYPE,
        f"{run.task_name} logged {what}{times} at {site.short} and succeeded all the same: nobody who waits for it or "
        "counts failures hears of the error",
        "raise it again after logging, or let the task be tried again (autoretry_for, self.retry(exc=...)); an error "
        "that is expected belongs below ERROR in the log",
        site,
        evidence,
        time_ns=logged.time_ns,
    )
    run.local.report(finding, (_TYPE, site.path, site.line, logged.type), run.local.root.span)


def _never_awaited(run: TaskRun) -> str:
    """What nobody awaits: "coroutine", "async_generator", "" where there is no such thing."""
    if run.error is None:
        kind = type(run.result)
        if kind in _PLAIN:
            return ""
        # Of the type, not of the object: isinstance() would ask a lazy one.
        if issubclass(kind, Coroutine):
            return "coroutine"
        return "async_generator" if issubclass(kind, AsyncGenerator) else ""
    if type(run.error).__name__ != "EncodeError" or not type(run.error).__module__.startswith("kombu."):
        return ""
    if _is_from_inside(run):
        return ""
    found = _UNENCODABLE.search(message_of(run.error))
    return found.group(1) if found is not None else ""


def _is_from_inside(run: TaskRun) -> bool:
    """Whether the error came while the task ran, not while Celery stored its result."""
    body = getattr(run.task.run, "__code__", None)
    at = run.error.__traceback__ if run.error is not None else None
    while at is not None:
        if at.tb_frame.f_code is body or frames.kind_of(at.tb_frame) == frames.APPLICATION:
            return True
        at = at.tb_next
    return False


def _report_coroutine(run: TaskRun, kind: str) -> None:
    what = "an async generator that nobody iterates" if kind == "async_generator" else "a coroutine that nobody awaits"
    state = "which cannot be stored as a result" if run.error is not None else "yet it counts as succeeded"
    finding = Finding(
        _TYPE,
        f"{run.task_name} returned {what}: Celery does not run `async def` tasks, nothing of it was done; {state}",
        f"make the task a plain def that calls it by {_HOW[kind]}",
        _site_of(run.task),
        {"task": run.task_name, "returned": kind},
    )
    run.local.report(finding, (_TYPE, kind), run.local.root.span)


def _site_of(task: Any) -> CallSite | None:
    found = code_attributes(task.run)
    path, line = found.get(names.CODE_FILE_PATH), found.get(names.CODE_LINE_NUMBER)
    return CallSite(path, line, found[names.CODE_FUNCTION_NAME]) if path and line else None


DETECTOR = Detector(
    _TYPE,
    doc="A task logged an exception and succeeded all the same, or returned a coroutine that nobody awaits.",
    fix="Raise the error again or have the task tried again; call a coroutine with `asyncio.run` or `async_to_sync` "
    "inside a plain `def` task.",
    not_found="Errors that are handled besides (a fallback, a default, another attempt, an error that is kept or "
    "raised again) or that a library logs; errors logged without their exception; tasks that fail, are tried again or "
    "ignored; coroutines that a library or the task's base class awaits.",
    on_task_end=_on_task_end,
)
