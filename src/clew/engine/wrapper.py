"""The one wrapper: what happens around a call of somebody else's function, whoever's seam it is.

The wrapper's source is generated from the live signature of the function it replaces: what the caller gave is passed on
as it was given, no signature and no default of another library is written down here, and a call costs less than
through `(*args, **kwargs)`. Its code calls itself a part of importlib's bootstrap, because that is the one kind of
frame that `warnings` (with `stacklevel` or `skip_file_prefixes`) and `logging` look through (docs/rationale.md).

A hook is given what its own parameters name (see `Around`). One that raises is reported (`isolation`) and changes
nothing.
"""

from __future__ import annotations

import functools
import inspect
import sys
from collections.abc import Callable
from types import FunctionType
from typing import Any

from clew.engine import isolation, wrapper_source
from clew.engine.wrapper_source import Call, Plan, UnknownParameterError, close_span
from clew.engine.wrapper_steps import follow, follow_async

Hook = Callable[..., Any]
_MAX_GENERIC = 20
_STEPPED = inspect.CO_COROUTINE | inspect.CO_GENERATOR | inspect.CO_ASYNC_GENERATOR


class Around:
    """What a seam does around a call; called with a function, it gives the wrapper of it.

    Args:
        open: before the call. What it gives is the `opened` of the other hooks; None: they are not called.
        note: after it: what is to be said on the span. One that wants `error` is called after every call, any other one
            when there was no error.
        close: after every call, and after `note`, whatever that has done; where there is an `open` and nothing else is
            said, it closes the span that `open` gave.
        instead: gives the call's result, or NotImplemented: then the original is called.
        change: by the name of a parameter, what gives the value to pass on instead.
        replace: gives the result in the place of the original's, if there was no error.
        state: gives what is known of the request or task, or None; where that is not recorded, nothing is opened: an
            unsampled request pays for this look, and for no call of a hook.

    Each of them may want, by the names of its parameters:
        what the call gives for a parameter of that name; its `self`, by a positional-only parameter of any name;
        `positional` and `keywords`, all that it gives; `opened`; its `result` and `error`, when it is over; `caller`,
        the frame that calls; `original`; `state`; what was bound when the wrapper was made.
    """

    def __init__(
        self,
        open: Hook | None = None,
        note: Hook | None = None,
        *,
        close: Hook | None = None,
        instead: Hook | None = None,
        change: dict[str, Hook] | None = None,
        replace: Hook | None = None,
        state: Callable[[], Any] | None = None,
    ) -> None:
        if open is not None and close is None:
            close = close_span
        self.plan = Plan(open, note, close, instead, dict(change or {}), replace, state)
        self._generic: dict[Any, tuple[Callable[..., Any], dict[str, Any]]] = {}

    def __call__(self, original: Any, *, is_generic: bool = False, is_async: bool = False, **bound: Any) -> Any:
        """A wrapper of `original` with its name, module, documentation and signature; see `quickly`.

        Raises:
            UnknownParameterError: a hook wants a parameter that the original does not have.
        """
        wrapper = self.quickly(original, is_generic=is_generic, is_async=is_async, **bound)
        return functools.update_wrapper(wrapper, original)

    def quickly(self, original: Any, *, is_generic: bool = False, is_async: bool = False, **bound: Any) -> Any:
        """A bare wrapper, for what is called once and asked nothing.

        Args:
            original: the function.
            is_generic: pass on `*args, **kwargs`, whatever its signature: one generated wrapper for all functions.
            is_async: its result is awaited, also where only a mark says so (`asgiref.sync.markcoroutinefunction`).
            **bound: what hooks may want besides.
        """
        kind = "async" if is_async else _kind(original)
        key = (kind, *bound) if is_generic else None
        found = self._generic.get(key) if key is not None else None
        if found is None:
            call = Call(original, kind, is_generic=is_generic, bound=tuple(bound))
            found = _compiled(wrapper_source.text(self.plan, call)), call.defaults
            if key is not None and len(self._generic) < _MAX_GENERIC:
                self._generic[key] = found
        factory, defaults = found
        wrapper = factory(original, self.plan.hooks, defaults, *bound.values())
        if not is_generic and isinstance(original, FunctionType):
            wrapper.__defaults__, wrapper.__kwdefaults__ = original.__defaults__, original.__kwdefaults__
        return wrapper


@functools.lru_cache(maxsize=500)
def _compiled(source: str) -> Callable[..., Any]:
    space: dict[str, Any] = {
        "__name__": __name__,
        "_clew_report": isolation.report,
        "_clew_place": _place,
        "_clew_frame": sys._getframe,
        "_clew_retrace": BaseException.with_traceback,  # an exception may refuse to have attributes set
        "_clew_follow": follow,
        "_clew_follow_async": follow_async,
    }
    exec(compile(source, wrapper_source.FILE_NAME, "exec"), space)
    factory: Callable[..., Any] = space["_clew_factory"]
    return factory


def _kind(original: Any) -> str:
    below = original
    while isinstance(below, functools.partial):
        below = below.func
    if type(below) is FunctionType and not below.__code__.co_flags & _STEPPED:
        return "sync"
    if inspect.iscoroutinefunction(below):
        return "async"
    if inspect.isgeneratorfunction(below):
        return "generator"
    return "async generator" if inspect.isasyncgenfunction(below) else "sync"


def _place(original: Any) -> str:
    return f"{getattr(original, '__module__', '')}.{getattr(original, '__qualname__', type(original).__name__)}"


__all__ = ["Around", "UnknownParameterError"]
