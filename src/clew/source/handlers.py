"""What the application's own code does with an exception that it catches, as its source says.

An exception that is swallowed and one that is handled (a fallback, a message, a form shown again) look the same from
outside. Asked only when something is about to be said of it, read a function at a time, and kept; nothing is executed.
Where there is no source, nobody knows.
"""

from __future__ import annotations

import ast
import builtins
from collections.abc import Sequence
from types import ModuleType
from typing import Any, Final, NamedTuple

from clew.source import handler_body
from clew.source.source_tree import Step, function_at, is_in, path_to

SWALLOWED: Final = "swallowed"
HANDLED: Final = "handled"
# No handler of the application's: a library catches it, or nobody.
NOT_CAUGHT: Final = ""
UNKNOWN: Final = "unknown"
_BROAD = (Exception, BaseException)


class Catch(NamedTuple):
    """What becomes of an exception.

    Args:
        fate: one of the above.
        is_by_name: the handler names its class or one of the application's, not just `Exception`.
        depth: how many functions it left.
    """

    fate: str
    is_by_name: bool = False
    depth: int = 0


def catch_of(steps: Sequence[Step], kinds: tuple[type, ...]) -> Catch:
    """What becomes of an exception that leaves the innermost of these lines.

    Args:
        steps: where it goes through, from the inside.
        kinds: its class and the classes above that.
    """
    wanted: tuple[type, ...] | None = kinds
    for depth, step in enumerate(steps):
        function = function_at(step)
        if function is None:
            return Catch(UNKNOWN)
        for guard in reversed(path_to(function, step.line)):
            handler = _handler_of(guard, step, wanted)
            if handler is None:
                continue
            if raised := handler_body.raises(handler.body):
                wanted = wanted if raised == handler_body.AGAIN else None
                continue
            is_by_name = handler.type is not None and not _is_broad(handler.type, step)
            return Catch(_fate(guard, handler, function, steps[depth:], 0), is_by_name, depth)
    return Catch(NOT_CAUGHT)


def fate_inside(steps: Sequence[Step]) -> str:
    """What becomes of the exception whose handler one of these lines is in."""
    for depth, step in enumerate(steps):
        function = function_at(step)
        if function is None:
            return UNKNOWN
        for guard in reversed(path_to(function, step.line)):
            for handler in getattr(guard, "handlers", ()):
                if is_in(handler.body, step.line):
                    if handler_body.raises(handler.body):
                        return HANDLED
                    return _fate(guard, handler, function, steps[depth:], step.line)
    return NOT_CAUGHT


def _fate(guard: ast.AST, handler: ast.ExceptHandler, function: ast.AST, steps: Sequence[Step], line: int) -> str:
    if not handler_body.does_nothing(handler, function, line):
        return HANDLED
    if handler_body.has_default(guard, function) or handler_body.has_other_way(guard, function):
        return HANDLED
    if line and handler_body.is_tried_again(guard, function):
        return HANDLED
    if handler_body.gives_values(function) and not _is_result_dropped(steps[1:]):
        return HANDLED  # what calls it is given None instead
    return SWALLOWED


def _is_result_dropped(callers: Sequence[Step]) -> bool:
    """Whether nobody looks at what the function gives: the task's or view's own is Celery's or Django's."""
    for step in callers:
        function = function_at(step)
        path = path_to(function, step.line) if function is not None else []
        if not path:
            return False
        if not isinstance(path[-1], ast.Return):
            return isinstance(path[-1], ast.Expr)
    return True


def _handler_of(guard: ast.AST, step: Step, wanted: tuple[type, ...] | None) -> ast.ExceptHandler | None:
    """The handler that takes the exception, of a `try` whose body the line is in or of a `with suppress(...)`."""
    handlers: list[ast.ExceptHandler] = []
    if isinstance(guard, (ast.With, ast.AsyncWith)):
        handlers = [_as_handler(each.context_expr) for each in guard.items if handler_body.is_suppress(each)]
    elif is_in(getattr(guard, "body", ()), step.line):
        handlers = getattr(guard, "handlers", [])
    return next((each for each in handlers if _takes(each.type, step, wanted)), None)


def _as_handler(call: Any) -> ast.ExceptHandler:
    kind = call.args[0] if len(call.args) == 1 else ast.Tuple(elts=call.args, ctx=ast.Load())
    return ast.ExceptHandler(type=kind, name=None, body=[ast.Pass()])


def _takes(kind: ast.expr | None, step: Step, wanted: tuple[type, ...] | None) -> bool:
    if kind is None or wanted is None:
        return True
    if isinstance(kind, ast.Tuple):
        return any(_takes(each, step, wanted) for each in kind.elts)
    named = _named(kind, step.space)
    if isinstance(named, type):
        return named in wanted
    if isinstance(named, tuple):
        return any(each in wanted for each in named)
    return handler_body.last_name(kind) in ("", *(each.__name__ for each in wanted))


def _is_broad(kind: ast.expr, step: Step) -> bool:
    if isinstance(kind, ast.Tuple):
        return any(_is_broad(each, step) for each in kind.elts)
    return _named(kind, step.space) in _BROAD


def _named(kind: ast.expr, space: dict[str, Any]) -> Any:
    """What a global name, or one of a module, stands for; None: nobody knows."""
    if isinstance(kind, ast.Name):
        return space.get(kind.id, vars(builtins).get(kind.id))
    if isinstance(kind, ast.Attribute):
        owner = _named(kind.value, space)
        return vars(owner).get(kind.attr) if isinstance(owner, (ModuleType, type)) else None
    return None
