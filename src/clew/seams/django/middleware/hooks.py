"""Hooks of middlewares (`process_view`, `process_template_response`, `process_exception`) as phases of theirs.

Django collects them in three lists of the handler when it builds the chain; each entry is replaced by one that tells
the cursor.
"""

from __future__ import annotations

from typing import Any

from clew.engine.wrapper import Around
from clew.seams.django import contrib
from clew.seams.django.middleware.cursor import Cursor, cursor_of
from clew.seams.django.middleware.layer import Layer, Phase
from clew.seams.django.request.outcome import status_of
from clew.source import code_location
from clew.story import local_trace

HOOKS = {
    "_view_middleware": "view",
    "_template_response_middleware": "template_response",
    "_exception_middleware": "exception",
}


def trace_hooks(handler: Any, layers: list[Layer]) -> None:
    """Trace the hooks of a handler whose chain is built, and note where contrib's request hook is called."""
    position = contrib.State.middleware_position
    if 0 < position < len(layers):
        layers[-1 - position].is_hook_position = True
    for attribute, phase in HOOKS.items():
        hooks = getattr(handler, attribute, None) or []
        setattr(handler, attribute, [_traced_hook(hook, phase) for hook in hooks])


def _traced_hook(hook: Any, phase: str) -> Any:
    from asgiref.sync import iscoroutinefunction

    method = getattr(hook, "func", None) or getattr(hook, "awaitable", None) or hook
    owner = getattr(method, "__self__", None)
    layer = Layer(code_location.dotted_name(type(owner) if owner is not None else method), method, phase)
    traced = _AROUND_HOOK(hook, is_generic=True, is_async=iscoroutinefunction(hook), hook=layer.hook)
    traced.__self__ = owner  # Django names it in an error message
    return traced


def _begin(hook: Phase, state: local_trace.LocalTrace | None) -> Cursor | None:
    if state is None:
        return None
    cursor = cursor_of(state)
    cursor.begin(hook)
    return cursor


def _end(opened: Cursor, hook: Phase, positional: tuple[Any, ...], result: Any, error: BaseException | None) -> None:
    if error is not None:
        opened.fail(error)
    elif result is not None and hook.name != "template_response":
        opened.answer()
        local = local_trace.current()
        if hook.name == "exception" and local is not None and status_of(result) >= 500:
            local.answered_error = positional[-1]
    else:
        opened.begin(None)


_AROUND_HOOK = Around(_begin, close=_end, state=local_trace.current)


def hooks_of(handler: Any) -> dict[str, Any]:
    """The handler's lists of hooks, as they are."""
    return {name: getattr(handler, name) for name in HOOKS}
