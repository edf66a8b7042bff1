"""A name of another library under another name, for a while."""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
from types import CodeType, FunctionType

from clew.engine.needs import code_of

OTHER = "renamed_by_a_test"


@contextlib.contextmanager
def renamed(need):
    """The need's name is another one; its library goes on using it where it holds the thing itself."""
    undo = []
    try:
        _rename(sys.modules[need.module], need, undo)
        yield
    finally:
        for each in reversed(undo):
            each()


def _rename(module, need, undo):
    owner, parts = module, need.path.split(".")
    while len(parts) > 1 and parts[0] != "<locals>":
        owner = getattr(owner, parts.pop(0))
    if parts[0] == "<locals>":
        _change(owner, lambda code: _below(code, parts[1:], need), undo)
    elif need.is_inside:
        _change(owner, lambda code: _without_word(code, need.name), undo)
    elif isinstance(owner, type):
        _rename_in_class(owner, need.name, need.is_attribute_of_instances, undo, need)
    else:
        _move(owner, need.name, undo)
        _rename_its_uses(need, undo)


def _rename_its_uses(need, undo):
    """Wherever OpenTelemetry uses a private name, it uses the other one: there it is nobody else's."""
    library = need.module.partition(".")[0]
    if library != "opentelemetry" or not need.name.startswith("_"):
        return
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] == library:
            for function in _functions_of(module):
                if need.name in _names(function.__code__):
                    _change(function, lambda code: _with_names_below(code, need.name), undo)


def _functions_of(module):
    """By exact types: a lazy object stays lazy."""
    for value in list(vars(module).values()):
        for each in list(vars(value).values()) if issubclass(type(value), type) else [value]:
            if type(each) in (staticmethod, classmethod):
                each = each.__func__
            elif type(each) is property or type(each).__name__ == "cached_property":
                each = each.fget if type(each) is property else vars(each).get("func")
            if type(each) is FunctionType and each.__module__ == module.__name__:
                yield each


def _names(code):
    found = set(code.co_names)
    for each in code.co_consts:
        if isinstance(each, CodeType):
            found |= _names(each)
    return found


def _with_names_below(code, name):
    return _with_names(code.replace(co_consts=_each(code, lambda each: _with_names_below(each, name))), name)


def _rename_in_class(kind, name, is_attribute, undo, need):
    for base in [base for base in kind.__mro__ if name in vars(base) and base is not object]:
        _move(base, name, undo)
    for each in gc.get_objects() if is_attribute else ():
        if issubclass(type(each), kind) and name in getattr(each, "__dict__", ()):
            _move_in(each, name, undo)
    for base in kind.__mro__:
        annotations = getattr(base, "__annotations__", {})
        if name in annotations:
            undo.append(functools.partial(annotations.__setitem__, name, annotations.pop(name)))
    _rename_its_uses(need, undo)
    for base in kind.__mro__ if is_attribute else ():
        for value in list(vars(base).values()):
            code = code_of(value)
            if code is not None and name in code.co_names:
                _change(value, lambda code: _with_names(code, name), undo)


def _move_in(instance, name, undo):
    held = instance.__dict__
    held[OTHER] = held.pop(name)
    undo.append(lambda: held.__setitem__(name, held.pop(OTHER)) if OTHER in held else None)


def _move(owner, name, undo):
    raw = vars(owner)[name]
    setattr(owner, OTHER, raw)
    delattr(owner, name)
    undo.append(lambda: (delattr(owner, OTHER), setattr(owner, name, raw)))


def _change(value, change, undo):
    code, function = code_of(value), _function(value)
    function.__code__ = change(code)
    undo.append(lambda: setattr(function, "__code__", code))


def _function(value):
    while not isinstance(value, FunctionType) or hasattr(value, "__wrapped__"):
        below = getattr(value, "fget", None) or getattr(value, "func", None) or getattr(value, "__func__", None)
        value = below or value.__wrapped__
    return value


def _below(code, parts, need):
    """The code with what `parts` lead to renamed in it."""
    if len(parts) == 1 and need.is_attribute_of_instances:
        return code.replace(co_consts=_each(code, lambda each: _with_names(each, need.name)))
    if not parts:
        return _without_word(code, need.name)

    def change(each):
        if each.co_name != parts[0]:
            return each
        return each.replace(co_name=OTHER) if len(parts) == 1 else _below(each, parts[1:], need)

    return code.replace(co_consts=_each(code, change))


def _each(code, change):
    return tuple(change(each) if isinstance(each, CodeType) else each for each in code.co_consts)


def _with_names(code, name):
    return code.replace(co_names=_instead(code.co_names, name))


def _without_word(code, word):
    code = code.replace(co_names=_instead(code.co_names, word), co_consts=_instead(code.co_consts, word))
    code = code.replace(co_varnames=_instead(code.co_varnames, word))
    return code.replace(co_cellvars=_instead(code.co_cellvars, word), co_freevars=_instead(code.co_freevars, word))


def _instead(names, name):
    return tuple(OTHER if type(each) is str and each == name else each for each in names)
