"""`auth backend ModelBackend`: each authentication backend in order, with what came of it.

We stand at `authenticate` and `aauthenticate` of a backend's own class, put there when Django first lists the backend
for a call: Django asks the method for its signature, so neither it nor the object may be replaced by something else.
"""

from __future__ import annotations

import functools
import inspect
import threading
import weakref
from contextvars import ContextVar
from types import FunctionType
from typing import Any

from clew import attributes as names
from clew.engine.redaction.exception_event import CANCELLED
from clew.engine.seam import Seam
from clew.engine.wrapper import Around
from clew.source import code_location
from clew.spans.scope import OpenSpan, Scope

SCOPE = Scope("clew.seams.django.auth")
_METHODS = ("authenticate", "aauthenticate")
_MAX_CLASSES = 200

_traced: weakref.WeakSet[type] = weakref.WeakSet()
_lock = threading.Lock()


class Attempt:
    """One call of `authenticate()`: the backends, which of them was asked last, and what came of it.

    Args:
        outer: the attempt it is inside, if any.
    """

    __slots__ = ("_asked", "_is_asking", "accepted_by", "backends", "denied_by", "is_inactive", "outer")

    def __init__(self, outer: Attempt | None) -> None:
        self.outer = outer
        # Class (None: it cannot be traced) and path of each; None until Django lists them.
        self.backends: list[tuple[type | None, str]] | None = None
        self.accepted_by = self.denied_by = ""
        # Django has asked whether a user may log in, and been told no.
        self.is_inactive = False
        self._asked = 0
        self._is_asking = False

    def begin(self, kind: type, code: dict[str, Any]) -> OpenSpan | None:
        """Open the span of the next backend of that class; None inside another one (`super().authenticate()`)."""
        if self._is_asking or self.backends is None:
            return None
        # Those Django passed over on its way here do not take these credentials.
        for at in range(self._asked, len(self.backends)):
            if self.backends[at][0] is kind:
                break
        else:
            return None
        self.skip(at)
        self._asked = at + 1
        path = self.backends[at][1]
        span = SCOPE.open(_name(path), {names.DJANGO_AUTH_BACKEND: path, **code})
        self._is_asking = span is not None
        return span

    def end(self, span: OpenSpan, result: Any, error: BaseException | None) -> None:
        """Close the span of the backend that was asked. A refusal is an answer, not an error."""
        self._is_asking = False
        if _is_refusal(error):
            assert self.backends is not None
            self.denied_by, error = self.backends[self._asked - 1][1], None
            span.note(names.DJANGO_AUTH_OUTCOME, "denied")
        elif error is not None:
            if not isinstance(error, CANCELLED):
                span.note(names.DJANGO_AUTH_OUTCOME, "error")
        elif result is None:
            span.note(names.DJANGO_AUTH_OUTCOME, "declined")
        else:
            assert self.backends is not None
            self.accepted_by = self.backends[self._asked - 1][1]
            span.note(names.DJANGO_AUTH_OUTCOME, "accepted")
        span.close(error)

    @property
    def reason(self) -> str:
        """Why nobody is logged in. Whether there is no such user, or another password, Django does not tell."""
        if self.denied_by:
            return f"{self.denied_by} denied it (PermissionDenied)"
        if self.is_inactive:
            return "the user is inactive"
        return "no backend accepted the credentials"

    def skip(self, until: int | None = None) -> None:
        """Say of the backends before that one that they do not take these credentials."""
        for kind, path in (self.backends or [])[self._asked : until]:
            attributes = {names.DJANGO_AUTH_BACKEND: path, names.DJANGO_AUTH_OUTCOME: "skipped"}
            span = SCOPE.open(_name(path), attributes) if kind is not None else None
            if span is not None:
                span.close()


_current: ContextVar[Attempt | None] = ContextVar("clew_auth_attempt", default=None)

current = _current.get
make_current = _current.set


def _name(path: str) -> str:
    return f"auth backend {path.rpartition('.')[2]}"


def _is_refusal(error: BaseException | None) -> bool:
    kinds = type(error).__mro__
    return any(kind.__name__ == "PermissionDenied" and kind.__module__ == "django.core.exceptions" for kind in kinds)


def listed(attempt: Attempt, backends: list[tuple[Any, str]], seam: Seam) -> None:
    """Django has listed the backends it is going to ask: trace those it has not listed before."""
    attempt.backends = [(_class_of(backend, seam), path) for backend, path in backends]


def reset() -> None:
    """The seam takes its wrappers off; when it stands again, they are put on again."""
    _traced.clear()


def _class_of(backend: Any, seam: Seam) -> type | None:
    kind = type(backend)
    # What the object itself holds is called in place of the class' method.
    if any(method in getattr(backend, "__dict__", ()) for method in _METHODS):
        return None
    with _lock:  # around our own patching only; two requests may list a backend first
        if kind in _traced:
            return kind
        if len(_traced) >= _MAX_CLASSES or not _is_traceable(kind):
            return None
        try:
            for method in _METHODS:
                if hasattr(kind, method):
                    seam.patch_attribute(kind, method, functools.partial(_wrapped, kind, method))
        except TypeError:  # a class that cannot be changed
            return None
        _traced.add(kind)
    return kind


def _is_traceable(kind: type) -> bool:
    """Whether its methods are plain ones: a callable object or a descriptor of its own binds in ways of its own."""
    plain, coroutine = (inspect.getattr_static(kind, method, None) for method in _METHODS)
    return _is_function(plain, is_async=False) and (coroutine is None or _is_function(coroutine, is_async=True))


def _is_function(raw: Any, *, is_async: bool) -> bool:
    function = getattr(raw, "__func__", raw)
    return isinstance(function, FunctionType) and inspect.iscoroutinefunction(function) is is_async


def _wrapped(kind: type, method: str, original: Any) -> Any:
    is_method = isinstance(inspect.getattr_static(kind, method), FunctionType)
    code = code_location.code_attributes(_code_of(original, kind))
    return _BACKEND(original, bound_to=kind if is_method else None, kind=kind, code=code)


def _code_of(original: Any, kind: type) -> Any:
    """The base class' `aauthenticate` only calls `authenticate` in a thread: that is the user's code."""
    return getattr(kind, "authenticate", original) if original.__qualname__.startswith("BaseBackend.") else original


_Opened = tuple[Attempt, OpenSpan]


def _open(bound_to: type | None, kind: type, code: dict[str, Any], positional: tuple[Any, ...]) -> _Opened | None:
    attempt = _current.get()
    if attempt is None or (bound_to is not None and not (positional and type(positional[0]) is bound_to)):
        return None
    span = attempt.begin(kind, code)
    return None if span is None else (attempt, span)


def _close(opened: _Opened, result: Any, error: BaseException | None) -> None:
    attempt, span = opened
    attempt.end(span, result, error)


_BACKEND = Around(_open, close=_close)
