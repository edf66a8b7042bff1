"""Whose code a view is: the user's function or class, its line, and the method or operation that is called."""

from __future__ import annotations

import functools
from types import MethodType
from typing import Any

from clew import attributes as names
from clew import span_names
from clew.engine import needs
from clew.source import code_location
from clew.spans.identity import StaticAttributes

_MAX_METHODS = 16
_NOT_ALLOWED = "http_method_not_allowed"
_NINJA = "ninja.operation"
needs.declare(
    __name__,
    *needs.attributes(_NINJA, "PathView", "operations"),
    *needs.attributes(_NINJA, "Operation", "methods", "view_func"),
    consequence="views of Ninja are told without the function of the operation",
)
# The class REST framework makes of each function under `@api_view`.
_OF_FUNCTION = "WrappedAPIView"

# The name of the view's span, and its attributes.
Described = tuple[str, dict[str, Any]]


class View:
    """What is known of a view before it is called.

    Args:
        callback: what the URL resolved to.
    """

    __slots__ = ("_by_method", "below", "operations", "target")

    def __init__(self, callback: Any) -> None:
        self.below = code_location.decorated_view(callback)
        self.target = code_location.view_class(self.below)
        self.operations = _operations(self.below) if self.target is None else []
        self._by_method: dict[tuple[str, bool], tuple[str, StaticAttributes]] = {}

    def described(self, callback: Any, method: str) -> tuple[str, StaticAttributes]:
        """Name and attributes of the span of a call with this HTTP method."""
        key = method, span_names.State.are_full
        found = self._by_method.get(key)
        if found is None:
            name, said = self._describe(callback, method)
            found = name, StaticAttributes(said)
            if len(self._by_method) < _MAX_METHODS:
                self._by_method[key] = found
        return found

    def _describe(self, callback: Any, method: str) -> Described:
        if self.target is not None:
            return self._of_class(self.target, method.lower())
        for operation in self.operations:
            if method in getattr(operation, "methods", ()):
                return _of_operation(operation)
        if self.operations:  # Ninja answers 405: none of them is run, as none of a class' methods is
            name, said = _of_operation(self.operations[0])
            return name, {**said, names.DJANGO_VIEW_HANDLER: _NOT_ALLOWED}
        return _of_function(self.below, "partial" if isinstance(callback, functools.partial) else "")

    def _of_class(self, target: type, method: str) -> Described:
        handler = _handler(target, self.below, method)
        if target.__qualname__ == _OF_FUNCTION and (function := _only_function(getattr(target, handler, None))):
            return _of_function(function, "rest_framework")
        name, kind = code_location.dotted_name(target), "rest_framework" if hasattr(self.below, "cls") else "class"
        code = code_location.method_attributes(target, handler)
        return _named(name, target), {**_said(name, kind), names.DJANGO_VIEW_HANDLER: handler, **code}


def _of_operation(operation: Any) -> Described:
    return _of_function(code_location.decorated_view(operation.view_func), "ninja")


def _of_function(target: Any, kind: str) -> Described:
    if type(target) is MethodType:  # of an admin, of an object that serves
        owner, method = type(target.__self__), code_location.method_name(target)
        name = f"{code_location.dotted_name(owner)}.{method}"
        return _named(name, owner), {**_said(name, kind or "method"), **code_location.method_attributes(owner, method)}
    function = code_location.unwrapped(target)
    name = code_location.dotted_name(function)
    kind = kind or ("function" if hasattr(function, "__code__") else "callable")
    return _named(name, function), {**_said(name, kind), **code_location.code_attributes(function)}


def _named(name: str, target: Any) -> str:
    return f"view {code_location.short_name(name, target)}"


def _said(name: str, kind: str) -> dict[str, Any]:
    return {names.DJANGO_VIEW_NAME: name, names.DJANGO_VIEW_KIND: kind}


def _handler(target: type, below: Any, method: str) -> str:
    actions = getattr(below, "actions", None)  # a ViewSet's
    actions = actions if isinstance(actions, dict) else {}
    handler = actions.get(method) or actions.get("get" if method == "head" else method, method)
    if method == "head" and not hasattr(target, handler):
        handler = "get"
    if hasattr(target, handler):
        return str(handler)
    return _NOT_ALLOWED if _has_djangos_dispatch(target) else "dispatch"


def _has_djangos_dispatch(target: type) -> bool:
    module = getattr(getattr(target, "dispatch", None), "__module__", "")
    return module.startswith(("django.views.", "rest_framework."))


def _only_function(handler: Any) -> Any:
    held = [each for each in code_location.held_by(handler) if callable(each)]
    return code_location.decorated_view(held[0]) if len(held) == 1 else None


def _operations(view: Any) -> list[Any]:
    """Ninja's operations at a path, one for each method; of anything else none."""
    for each in (getattr(view, "__self__", None), *code_location.held_by(view)):
        if type(each).__module__ == _NINJA:
            operations = getattr(each, "operations", None)
            return operations if isinstance(operations, list) else []
    return []
