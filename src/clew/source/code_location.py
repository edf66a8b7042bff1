"""`code.*`: which piece of the user's code a span stands for. Cached by code object: a view is looked up once."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from clew import attributes as names

_MAX_UNWRAPS = 50


def unwrapped(target: Any) -> Any:
    """The function below decorators, partials and bound methods; the object itself when there is none."""
    for _ in range(_MAX_UNWRAPS):
        if isinstance(target, functools.partial):
            target = target.func
        elif hasattr(target, "__func__"):
            target = target.__func__
        else:
            below = vars(target).get("__wrapped__") if hasattr(target, "__dict__") else None
            if below is None:
                return target
            target = below
    return target


def dotted_name(target: Any) -> str:
    """Module and qualified name of a class or function (of an object: of its class), without `<locals>`."""
    if not hasattr(target, "__qualname__"):
        target = type(target)
    name = str(target.__qualname__)
    module = getattr(target, "__module__", None)
    return f"{module}.{name}" if module else name


def code_attributes(target: Callable[..., Any] | Any) -> dict[str, Any]:
    """`code.function.name`, `code.file.path`, `code.line.number` of a function, method, class or callable object."""
    function = unwrapped(target)
    found: dict[str, Any] = {names.CODE_FUNCTION_NAME: dotted_name(function)}
    code = getattr(function, "__code__", None)
    if code is None:
        call = getattr(type(function), "__call__", None)  # noqa: B004 - its code is wanted
        code = getattr(call, "__code__", None)
    if code is not None:
        found[names.CODE_FILE_PATH] = code.co_filename
        found[names.CODE_LINE_NUMBER] = code.co_firstlineno
    return found
