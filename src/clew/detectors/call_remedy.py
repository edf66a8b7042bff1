"""What `call_in_loop` advises: the loop's own call, as it is written to be made for all at the same time."""

from __future__ import annotations

import ast
from types import CodeType
from typing import Any

from clew.detectors.call_shape import Shape
from clew.source.source_tree import Step, function_at, path_to
from clew.source.stack import stack
from clew.story.external_calls import ExternalCall

_MAX_TEXT = 200
_KEEPS = ("append", "add", "extend", "update", "setdefault")
_LOOPS = (ast.For, ast.AsyncFor)
_MADE = (ast.ListComp, ast.SetComp, ast.GeneratorExp)


def fix(call: ExternalCall, shape: Shape) -> str:
    """What to write, with the loop's own names where its source can be read."""
    written = _written(call, shape)
    if written is None:
        return (
            "ask for all of them in one call, if the service has one; else for several at the same time (a"
            " ThreadPoolExecutor, or asyncio.gather), or in a pipeline of Redis"
        )
    target, things, made, is_async = written
    if call.span.instrumentation_scope.name.rpartition(".")[2] == "redis" and isinstance(made.func, ast.Attribute):
        client = ast.unparse(made.func.value)
        piped = ast.unparse(ast.Call(ast.Attribute(ast.Name("pipe"), made.func.attr), made.args, made.keywords))
        execute = "await pipe.execute()" if is_async else "pipe.execute()"
        return (
            f"send them in one pipeline: `pipe = {client}.pipeline()` before the loop, `{piped}` in it, and"
            f" `answers = {execute}` after it"
        )
    text = ast.unparse(made)
    if is_async:
        how = f"`answers = await asyncio.gather(*[{text} for {target} in {things}])`"
    else:
        how = (
            f"`with ThreadPoolExecutor(8) as pool: answers = list(pool.map(lambda {target}: {text}, {things}))`"
            if target.isidentifier()
            else "with a ThreadPoolExecutor"
        )
    return f"ask for all of them in one call, if the service has one; else for several at the same time: {how}"


def _written(call: ExternalCall, shape: Shape) -> tuple[str, str, ast.Call, bool] | None:
    """What the loop sets, what it goes through, the call in it, and whether that is awaited."""
    step = _step(call, shape.at[0]) if shape.at is not None else None
    function = function_at(step) if step is not None else None
    if function is None or step is None:
        return None
    path = path_to(function, step.line)
    statement: Any = path[-1] if path else None
    loop: Any = next((each for each in reversed(path) if isinstance(each, _LOOPS)), None)
    made: Any = next((each for each in ast.walk(statement) if isinstance(each, _MADE)), None) if statement else None
    if made is not None and len(made.generators) == 1 and not made.generators[0].ifs:
        loop, value = made.generators[0], made.elt
    elif loop is None or statement is loop or hasattr(statement, "body"):
        return None
    else:
        value = getattr(statement, "value", None)
    found = _call_in(value)
    if found is None or len(ast.unparse(found)) > _MAX_TEXT:
        return None
    is_async = any(isinstance(each, ast.Await) and each.value is found for each in ast.walk(statement))
    return ast.unparse(loop.target), ast.unparse(loop.iter), found, is_async


def _step(call: ExternalCall, code: CodeType) -> Step | None:
    """The function with the loop; a comprehension's own code is in the function around it (up to Python 3.11)."""
    is_inside = False
    for frame in stack(call.frame):
        is_inside = is_inside or frame.f_code is code
        if is_inside and not frame.f_code.co_name.startswith("<"):
            return Step(frame.f_code, frame.f_lineno or 0, frame.f_globals)
    return None


def _call_in(value: Any) -> ast.Call | None:
    """The call that is made, without what keeps, awaits or reads its answer."""
    while value is not None:
        if isinstance(value, (ast.Await, ast.Attribute, ast.Subscript, ast.FormattedValue, ast.Starred)):
            value = value.value
        elif isinstance(value, ast.Call):
            kept = value.func.attr if isinstance(value.func, ast.Attribute) else ""
            if kept in _KEEPS and len(value.args) == 1:
                value = value.args[0]
            elif isinstance(value.func, ast.Attribute) and _has_call(value.func.value):
                value = value.func.value  # `.json()` of an answer
            else:
                return value
        else:
            return None
    return None


def _has_call(value: Any) -> bool:
    while isinstance(value, (ast.Attribute, ast.Subscript, ast.Await)):
        value = value.value
    return isinstance(value, ast.Call)
