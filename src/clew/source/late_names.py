"""What a function looks up only when it runs: what it closes over, global names, attributes of these (`self.item`).

Their values are compared between two moments, never called or printed: plain values by what they are, anything else by
its identity, so that nothing is kept alive.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from types import CodeType, FunctionType, MethodType
from typing import Any, NamedTuple

_PLAIN = (int, float, bool, str, bytes, type(None))
_MAX_TEXT = 200
_MAX_KNOWN = 1000
_known: dict[int, tuple[CodeType, tuple[LateName, ...]]] = {}


class LateName(NamedTuple):
    """One name, or attribute of one.

    Args:
        name: of a variable; of a method, its first parameter's.
        attribute: of what that holds; "" for itself.
    """

    name: str
    attribute: str = ""

    def __str__(self) -> str:
        return f"{self.name}.{self.attribute}" if self.attribute else self.name


def late_names(function: FunctionType) -> tuple[LateName, ...]:
    """What it looks up, but for what it changes itself: that is shared on purpose."""
    code = function.__code__
    known = _known.get(id(code))
    if known is None:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        known = _known[id(code)] = (code, tuple(dict.fromkeys(_looked_up(code))))
    return known[1]


def values(hook: FunctionType | MethodType) -> tuple[Any, ...]:
    """What its late names hold now, in a form that can be compared."""
    function: Any = hook.__func__ if type(hook) is MethodType else hook
    held = _held(hook, function)
    return tuple([_value(held, each) for each in late_names(function)])


def _held(hook: Any, function: Any) -> dict[str, Any]:
    code = function.__code__
    held = {each.name: function.__globals__.get(each.name) for each in late_names(function)}
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=False):
        try:
            held[name] = cell.cell_contents
        except ValueError:  # not assigned yet
            held[name] = None
    if type(hook) is MethodType and code.co_argcount:
        held[code.co_varnames[0]] = hook.__self__
    return held


def _value(held: dict[str, Any], late: LateName) -> Any:
    value = held.get(late.name)
    if late.attribute:
        try:
            # The object's own: a property, or `__getattr__`, is the application's code.
            value = object.__getattribute__(value, "__dict__").get(late.attribute)
        except AttributeError:
            return None
    kind: Any = type(value)
    if kind not in _PLAIN:
        return id(value)
    is_long = (kind is str or kind is bytes) and len(value or "") > _MAX_TEXT
    return kind, hash(value) if is_long else value


def _looked_up(code: CodeType) -> Iterator[LateName]:
    names = set(code.co_freevars) | set(code.co_varnames[: min(code.co_argcount, 1)])
    found = [LateName(name) for name in code.co_freevars]
    changed: set[str] = set()
    for each in _codes(code):
        before = ""
        for step in dis.get_instructions(each):
            # Since Python 3.13 one instruction may load two variables.
            name = step.argval[-1] if type(step.argval) is tuple and step.argval else step.argval
            if step.opname in ("LOAD_GLOBAL", "LOAD_NAME"):
                names.add(name)
                found.append(LateName(name))
            elif step.opname in ("LOAD_ATTR", "LOAD_METHOD") and before:
                found.append(LateName(before, name))
            elif step.opname.startswith(("STORE_DEREF", "STORE_GLOBAL", "STORE_ATTR", "DELETE_")):
                changed.add(str(name))
            is_load = step.opname.startswith(("LOAD_DEREF", "LOAD_GLOBAL", "LOAD_NAME", "LOAD_FAST"))
            before = name if is_load and name in names else ""
    return (each for each in found if each.name not in changed and each.attribute not in changed)


def _codes(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if type(each) is CodeType:
            yield from _codes(each)
