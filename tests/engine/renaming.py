"""A name of another library under another name, for a while."""

from __future__ import annotations

import contextlib
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
        _rename_in_class(owner, need.name, need.is_attribute_of_instances, undo)
    else:
        _move(owner, need.name, undo)


def _rename_in_class(kind, name, is_attribute, undo):
    for base in [base for base in kind.__mro__ if name in vars(base) and base is not object]:
        _move(base, name, undo)
    for base in kind.__mro__ if is_attribute else ():
        for value in list(vars(base).values()):
            code = code_of(value)
            if code is not None and name in code.co_names:
                _change(value, lambda code: _with_names(code, name), undo)


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
