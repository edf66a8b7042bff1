"""Whether an `except` block does something about its exception, or only says that there was one; see handlers.py."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import Any, Final

AGAIN: Final = "again"
ANOTHER: Final = "another"
_SAYS = {
    *("debug", "info", "warning", "warn", "error", "exception", "critical", "fatal", "log"),
    *(
        "print",
        "print_exc",
        "print_exception",
        "capture_exception",
        "capture_message",
        "record_exception",
        "set_status",
    ),
}
_LOOPS = (ast.For, ast.AsyncFor, ast.While)
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda, ast.ClassDef)


def raises(body: Sequence[ast.stmt]) -> str:
    """Whether a handler ends with `raise` (AGAIN) or raises something else (ANOTHER)."""
    last = body[-1]
    if not isinstance(last, ast.Raise):
        return ""
    return AGAIN if last.exc is None else ANOTHER


def does_nothing(handler: ast.ExceptHandler, function: ast.AST, line: int) -> bool:
    """Whether a handler at most logs.

    Args:
        handler: the `except` block.
        function: what it is in.
        line: a statement at this line logs, whatever it calls; 0: none.
    """
    return all(_is_nothing(each, handler, function, line) for each in handler.body)


def _is_nothing(statement: ast.stmt, handler: ast.ExceptHandler, function: ast.AST, line: int) -> bool:
    if isinstance(statement, (ast.Pass, ast.Continue, ast.Break)):
        return True
    if isinstance(statement, ast.Return):
        return _is_none(statement.value)
    if isinstance(statement, ast.Assign):
        # What only the log's sentence is made of.
        names = {each.id for target in statement.targets for each in ast.walk(target) if isinstance(each, ast.Name)}
        return all(isinstance(each, ast.Name) for each in statement.targets) and names.isdisjoint(
            _names(function, ast.Load, without=handler)
        )
    if not isinstance(statement, ast.Expr):
        return False
    value = statement.value
    if isinstance(value, ast.Constant):
        return True
    is_line = line and statement.lineno <= line <= (statement.end_lineno or 0)
    return isinstance(value, ast.Call) and bool(is_line or last_name(value.func) in _SAYS)


def is_tried_again(guard: ast.AST, function: ast.AST) -> bool:
    """Whether the `try` is in a loop that is left when it has worked: what is logged is an attempt."""
    loops = [each for each in ast.walk(function) if isinstance(each, _LOOPS) and _holds(each, guard)]
    if not loops:
        return False
    loop: Any = max(loops, key=lambda each: each.lineno)
    handlers = {id(each) for handler in getattr(guard, "handlers", ()) for each in ast.walk(handler)}
    return any(isinstance(each, (ast.Break, ast.Return)) and id(each) not in handlers for each in _inside(loop.body))


def has_default(guard: ast.AST, function: ast.AST) -> bool:
    """Whether what the `try` was to find has a value from before, which is used afterwards."""
    first, last = _span(guard)
    found = set(_names(guard, ast.Store))
    before = set(_names(function, ast.Store, until=first))
    return bool(found & before & set(_names(function, ast.Load, after=last)))


def has_other_way(guard: Any, function: ast.AST) -> bool:
    """Whether the function is left where the `try` has worked, so that what follows it is what is done instead."""
    worked = _inside([*guard.body, *getattr(guard, "orelse", ())])
    last = _span(guard)[1]
    after = (
        each for each in _inside(getattr(function, "body", ())) if isinstance(each, ast.stmt) and each.lineno > last
    )
    return any(isinstance(each, ast.Return) for each in worked) and any(
        not isinstance(each, ast.Return) or not (each.value is None or _is_none(each.value)) for each in after
    )


def gives_values(function: ast.AST) -> bool:
    """Whether a function returns something."""
    return any(
        isinstance(each, ast.Return) and each.value is not None and not _is_none(each.value)
        for each in _inside(getattr(function, "body", ()))
    )


def is_suppress(item: ast.withitem) -> bool:
    """Whether it is a `contextlib.suppress(...)`."""
    call = item.context_expr
    return isinstance(call, ast.Call) and last_name(call.func) == "suppress" and bool(call.args)


def _is_none(node: ast.expr | None) -> bool:
    return node is None or (isinstance(node, ast.Constant) and node.value is None)


def last_name(node: ast.expr) -> str:
    """`error` of `error` and of `logger.error`; "" of anything else."""
    return node.id if isinstance(node, ast.Name) else node.attr if isinstance(node, ast.Attribute) else ""


def _inside(body: Sequence[ast.AST]) -> Iterator[ast.AST]:
    """Every node of statements, without those of functions that are made there."""
    waiting = list(body)
    while waiting:
        each = waiting.pop()
        if not isinstance(each, _FUNCTIONS):
            yield each
            waiting.extend(ast.iter_child_nodes(each))


def _holds(loop: ast.AST, guard: ast.AST) -> bool:
    return any(each is guard for each in _inside(getattr(loop, "body", ())))


def _span(node: Any) -> tuple[int, int]:
    return node.lineno, node.end_lineno or node.lineno


def _names(
    node: ast.AST, context: type, *, until: int = 0, after: int = 0, without: ast.AST | None = None
) -> Iterator[str]:
    left_out = {id(each) for each in ast.walk(without)} if without is not None else set()
    for each in ast.walk(node):
        if isinstance(each, ast.Name) and isinstance(each.ctx, context) and id(each) not in left_out:
            if (until and each.lineno >= until) or (after and each.lineno <= after):
                continue
            yield each.id
