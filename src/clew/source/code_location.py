"""`code.*`: which piece of the user's code a span stands for. Cached by code object: a view is looked up once."""

from __future__ import annotations

import functools
import inspect
import linecache
import re
import sys
from collections.abc import Callable
from types import CellType, CodeType, FunctionType, MethodType
from typing import Any

from clew import attributes as names
from clew import span_names
from clew.source import frames

_MAX_UNWRAPS = 50
# Asked for attributes; an object of another type may be lazy.
_FUNCTIONS = (FunctionType, MethodType, functools.partial)
# What the first parameter of a view is called.
_REQUESTS = ("request", "req", "_request", "http_request")


def unwrapped(target: Any) -> Any:
    """The function below decorators, partials and bound methods; the object itself when there is none."""
    for _ in range(_MAX_UNWRAPS):
        below = unwrapped_once(target)
        if below is None:
            return target
        target = below
    return target


def unwrapped_once(target: Any) -> Any:
    """What a partial, a bound method or a wrapper that says so stands for; None where it stands for itself."""
    if isinstance(target, functools.partial):
        return target.func
    if hasattr(target, "__func__"):
        return target.__func__
    return vars(target).get("__wrapped__") if hasattr(target, "__dict__") else None


def view_class(target: Any) -> type | None:
    """The class of a class-based view (Django's `view_class`, REST framework's `cls`), None of any other."""
    while isinstance(target, functools.partial):
        target = target.func
    if type(target) not in _FUNCTIONS:
        return None
    found = getattr(target, "view_class", None) or getattr(target, "cls", None)
    return found if isinstance(found, type) else None


def decorated_view(target: Any) -> Any:
    """The view below decorators, also those that do not use `functools.wraps`; `target` where none can be told.

    A wrapper made inside a decorator holds what it calls in its closure. A view is what has a `view_class`, or takes
    a request first; where several do, or none, the wrapper is the view for all we know.
    """
    for _ in range(_MAX_UNWRAPS):
        if view_class(target) is not None or _is_method(target):
            return target
        below = unwrapped_once(target)
        if below is None:
            below = _held_view(target)
        if below is None:
            return target
        target = below
    return target


def _is_method(target: Any) -> bool:
    """Whether it is a method of an object: whose it is says more than who the class has inherited it from."""
    return type(target) is MethodType and not isinstance(target.__self__, type)


def held_by(wrapper: Any) -> list[Any]:
    """What a function holds in its closure."""
    return [_content(cell) for cell in getattr(wrapper, "__closure__", None) or ()]


def _held_view(wrapper: Any) -> Any:
    if type(wrapper) is not FunctionType or "<locals>" not in wrapper.__qualname__:
        return None
    held = [each for each in held_by(wrapper) if type(each) in _FUNCTIONS]
    views = [each for each in held if _leads_to_class(each)] or [each for each in held if _takes_request(each)]
    return views[0] if len(views) == 1 else None


def _content(cell: CellType) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # empty
        return None


def _leads_to_class(target: Any) -> bool:
    for _ in range(_MAX_UNWRAPS):
        if target is None or view_class(target) is not None:
            return target is not None
        target = unwrapped_once(target)
    return False


def _takes_request(target: Any) -> bool:
    """Whether its first parameter is a request by its name, or anything (another wrapper)."""
    function = unwrapped(target)
    code = getattr(function, "__code__", None)
    if not isinstance(code, CodeType):
        return False
    is_bound = isinstance(target, MethodType)
    parameters = code.co_varnames[: code.co_argcount][is_bound:]
    return parameters[0] in _REQUESTS if parameters else bool(code.co_flags & inspect.CO_VARARGS)


def dotted_name(target: Any) -> str:
    """Module and qualified name of a class or function (of an object: of its class), without `<locals>`."""
    if not hasattr(target, "__qualname__"):
        target = type(target)
    name = str(target.__qualname__)
    module = getattr(target, "__module__", None)
    return f"{module}.{name}" if module else name


def short_name(name: str, target: Any) -> str:
    """A dotted name of a class, function or object, as spans are named after it."""
    return span_names.of_code(name, getattr(target, "__module__", None) or "")


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


def method_name(method: MethodType) -> str:
    """What a bound method is called in its class, whatever a decorator has called its wrapper."""
    found = (
        name for each in type(method.__self__).__mro__ for name, held in vars(each).items() if held is method.__func__
    )
    return next(found, method.__name__)


def method_attributes(owner: type, method: str) -> dict[str, Any]:
    """`code.*` of a method: where it is the application's; else, inherited from a library, where the class is."""
    function = unwrapped(decorated_view(getattr(owner, method, None)))
    named = {names.CODE_FUNCTION_NAME: f"{dotted_name(owner)}.{method}"}
    code = getattr(function, "__code__", None)
    if code is None or not frames.is_application(code.co_filename):
        path, line = class_place(owner)
        if line and (code is None or frames.is_application(path)):
            return {**named, names.CODE_FILE_PATH: path, names.CODE_LINE_NUMBER: line}
    return {**code_attributes(function), **named}


def class_place(owner: type) -> tuple[str, int]:
    """File and line of a class; "" or 0 where they cannot be told."""
    module = sys.modules.get(owner.__module__)
    path = getattr(module, "__file__", None) or ""
    line = vars(owner).get("__firstlineno__")  # from Python 3.13 on
    if type(line) is int:
        return path, line
    begins = re.compile(rf"\s*class\s+{re.escape(owner.__name__)}\b")
    lines = linecache.getlines(path, getattr(module, "__dict__", None)) if path else []
    return path, next((number for number, text in enumerate(lines, 1) if begins.match(text)), 0)
