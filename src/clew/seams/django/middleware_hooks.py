"""Hooks of middlewares (`process_view`, `process_template_response`, `process_exception`) as phases of theirs.

Django collects them in three lists of the handler when it builds the chain; each entry is replaced by one that tells
the cursor.
"""

from __future__ import annotations

from time import time_ns
from typing import Any

from asgiref.sync import iscoroutinefunction

from clew.core import code_location, local_trace
from clew.engine import isolation
from clew.engine.seam import like
from clew.seams.django import contrib
from clew.seams.django.middleware_cursor import SCOPE_NAME, Cursor, Layer, cursor_of

_HOOKS = {
    "_view_middleware": "view",
    "_template_response_middleware": "template_response",
    "_exception_middleware": "exception",
}


def trace_hooks(handler: Any, layers: list[Layer]) -> None:
    """Trace the hooks of a handler whose chain is built, and note where contrib's request hook is called."""
    try:
        position = contrib.State.middleware_position
        if 0 < position < len(layers):
            layers[-1 - position].is_hook_position = True
        for attribute, phase in _HOOKS.items():
            hooks = getattr(handler, attribute, None) or []
            setattr(handler, attribute, [_traced_hook(hook, phase) for hook in hooks])
    except Exception as error:  # noqa: BLE001 - ours must not reach the application
        isolation.report(error, SCOPE_NAME)


def _traced_hook(hook: Any, phase: str) -> Any:
    method = getattr(hook, "func", None) or getattr(hook, "awaitable", None) or hook
    owner = getattr(method, "__self__", None)
    layer = Layer(code_location.dotted_name(type(owner) if owner is not None else method), method)
    if iscoroutinefunction(hook):

        async def ahook(*args: Any, **kwargs: Any) -> Any:
            __traceback_hide__ = True
            cursor = _hook_begins(layer, phase)
            if cursor is None:
                return await hook(*args, **kwargs)
            answer = error = None
            try:
                answer = await hook(*args, **kwargs)
                return answer
            except BaseException as raised:
                error = raised
                raise
            finally:
                _hook_ends(cursor, phase, answer, error)
                del error

        return _as_method(ahook, hook, owner)

    def traced(*args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True
        cursor = _hook_begins(layer, phase)
        if cursor is None:
            return hook(*args, **kwargs)
        answer = error = None
        try:
            answer = hook(*args, **kwargs)
            return answer
        except BaseException as raised:
            error = raised
            raise
        finally:
            _hook_ends(cursor, phase, answer, error)
            del error

    return _as_method(traced, hook, owner)


def _as_method(wrapper: Any, hook: Any, owner: Any) -> Any:
    like(hook, wrapper)
    wrapper.__self__ = owner  # Django names it in an error message
    return wrapper


def _hook_begins(layer: Layer, phase: str) -> Cursor | None:
    local = local_trace.current()
    if local is None or not local.is_recording:
        return None
    try:
        cursor = cursor_of(local)
        cursor.begin(layer, phase)
        return cursor
    except Exception as error:  # noqa: BLE001 - ours must not reach the application
        isolation.report(error, SCOPE_NAME)
        return None


def _hook_ends(cursor: Cursor, phase: str, answer: Any, error: BaseException | None) -> None:
    try:
        answered = answer is not None and phase != "template_response"
        cursor.end_phase(time_ns(), error, is_short_circuit=answered)
    except Exception as ours:  # noqa: BLE001 - ours must not reach the application
        isolation.report(ours, SCOPE_NAME)


def hooks_of(handler: Any) -> dict[str, Any]:
    """The handler's lists of hooks, as they are."""
    return {name: getattr(handler, name) for name in _HOOKS}
