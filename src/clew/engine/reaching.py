"""Whether what somebody has put in our wrapper's place still comes to the wrapper."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any

_MAX_HELD = 200
_METHODS = (staticmethod, classmethod, MethodType)


def reaches(replacement: Any, wrapper: Any, owner: Any) -> bool:
    """Whether a replacement holds the wrapper, and so may call it.

    Looked for where wrappers keep what they wrap: `__wrapped__`, a closure, a default, an attribute of the object, a
    global name or an attribute of the class that the code names. Nothing of the application is called.

    Args:
        replacement: what stands there now.
        wrapper: what we have put there.
        owner: the class or module it is an attribute of.
    """
    wanted = {id(wrapper), id(_function_of(wrapper))}
    seen: dict[int, Any] = {}
    waiting = [replacement]
    while waiting and len(seen) < _MAX_HELD:
        each = waiting.pop(0)
        if id(each) in wanted:
            return True
        if id(each) not in seen:
            seen[id(each)] = each
            waiting.extend(_held_by(each, owner))
    return False


def _function_of(value: Any) -> Any:
    return value.__func__ if isinstance(value, _METHODS) else value


def _held_by(value: Any, owner: Any) -> Iterator[Any]:
    if isinstance(value, _METHODS):
        yield value.__func__
    elif isinstance(value, functools.partial):
        yield from (value.func, *value.args, *value.keywords.values())
    elif isinstance(value, FunctionType):
        yield from _held_by_function(value, owner)
    elif not isinstance(value, type) and "__call__" in (own := _attributes_of_class(type(value))):
        yield from _attributes(value)  # an object that is called: wrapt's, or one of a class of theirs
        yield own["__call__"]


def _held_by_function(function: FunctionType, owner: Any) -> Iterator[Any]:
    yield from vars(function).values()
    yield from function.__defaults__ or ()
    yield from (function.__kwdefaults__ or {}).values()
    for cell in function.__closure__ or ():
        try:
            yield cell.cell_contents
        except ValueError:  # an empty cell
            continue
    held = _attributes_of_class(owner) if isinstance(owner, type) else {}
    for name in _names(function.__code__):
        yield from (space[name] for space in (function.__globals__, held) if name in space)


def _names(code: CodeType) -> Iterator[str]:
    yield from code.co_names
    for inner in code.co_consts:
        if isinstance(inner, CodeType):
            yield from _names(inner)


def _attributes(value: Any) -> Iterator[Any]:
    try:
        yield object.__getattribute__(value, "__wrapped__")
    except AttributeError:
        pass
    try:
        yield from list(object.__getattribute__(value, "__dict__").values())
    except AttributeError:
        pass


def _attributes_of_class(kind: type) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__):
        found.update(vars(base))
    return found
