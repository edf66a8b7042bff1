"""What `publish_in_transaction` advises: the line that sends, as it is written to send after the commit."""

from __future__ import annotations

import ast
from typing import Any

from clew.source.senders import sender_of
from clew.source.source_tree import Step, function_at, path_to, statement_from, steps_of
from clew.story.transactions import Publish

_SENDS = ("delay", "apply_async", "send_task")
# Celery's task of a Django site: it has methods that wait for the commit of "default".
_WAITING = {"delay": "delay_on_commit", "apply_async": "apply_async_on_commit"}
_MAX_TEXT = 300


def remedy_of(publish: Publish, alias: str) -> str:
    """The call that sends after the commit, with its own arguments where its source can be read.

    Args:
        publish: the task that is being sent.
        alias: the database whose transaction is open.
    """
    using = "" if alias == "default" else f", using={alias!r}"
    call = call_of(publish)
    if call is None:
        short = publish.task_name.rpartition(".")[2]
        sends = f"functools.partial({short}.delay, ...)" if publish.task is not None else "lambda: ..."
        return f"transaction.on_commit({sends}{using})"
    deferred = f"transaction.on_commit({_bound(call)}{using})"
    waiting = _WAITING.get(call.func.attr) if isinstance(call.func, ast.Attribute) else None
    if waiting is None or using or not _is_task(call, publish):
        return deferred
    return f"{_renamed(call, waiting)}, or {deferred}"


def call_of(publish: Publish) -> ast.Call | None:
    """The call in the application's line that sends; None where it cannot be told, or is too long for a sentence."""
    statement = _statement(next(iter(steps_of(sender_of(publish.frame))), None), publish)
    if statement is None:
        return None
    calls = [each for each in ast.walk(statement) if isinstance(each, ast.Call)]
    found = [each for each in calls if isinstance(each.func, ast.Attribute) and each.func.attr in _SENDS]
    if not found and isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call):
        found = [statement.value]  # a canvas that is called: `group(...)()`
    return found[0] if len(found) == 1 and len(ast.unparse(found[0])) <= _MAX_TEXT else None


def _statement(step: Step | None, publish: Publish) -> ast.stmt | None:
    function = function_at(step) if step is not None else None
    if function is None or step is None:
        site = publish.site
        return statement_from(site.path, site.line) if site is not None else None
    path = path_to(function, step.line)
    # A block that begins on the line holds more than what sends.
    return path[-1] if path and not hasattr(path[-1], "body") else None


def _bound(call: ast.Call) -> str:
    """The call's function and arguments, evaluated now and called later."""
    if not call.args and not call.keywords:
        return ast.unparse(call.func)
    later: Any = ast.Call(ast.Attribute(ast.Name("functools"), "partial"), [call.func, *call.args], call.keywords)
    return ast.unparse(later)


def _renamed(call: ast.Call, method: str) -> str:
    assert isinstance(call.func, ast.Attribute)
    return ast.unparse(ast.Call(ast.Attribute(call.func.value, method), call.args, call.keywords))


def _is_task(call: ast.Call, publish: Publish) -> bool:
    """Whether it is a task that is sent, not a signature or a canvas that happens to hold it."""
    is_plain = isinstance(call.func, ast.Attribute) and not isinstance(call.func.value, ast.Call)
    frame = publish.frame
    sender = frame.f_globals.get("__name__") if frame is not None else ""
    return (
        is_plain
        and sender == "celery.app.task"
        and hasattr(type(publish.task), "delay_on_commit")
        and _is_direct(publish)
    )


def _is_direct(publish: Publish) -> bool:
    frame = publish.frame
    while frame is not None and str(frame.f_globals.get("__name__", "")).startswith(("celery.", "clew.")):
        if frame.f_globals["__name__"] == "celery.canvas":
            return False
        frame = frame.f_back
    return True
