"""`middleware SessionMiddleware request` and its other phases: flat siblings below the request, not an onion.

We stand between the layers of the chain Django builds in `load_middleware`: a middleware's request phase lasts from its
call until the next layer is called, its response phase from that layer's return until its own. One cursor for a request
walks the chain; a phase becomes a span when it took time, failed, answered, or something was opened under it, and is an
entry of the request's `django.middleware.timings` otherwise (`CLEW_DETAIL=all`: always a span).
"""

from __future__ import annotations

import functools
import threading
from typing import Any

from clew import attributes as names
from clew.engine import needs
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.django import contrib
from clew.seams.django.middleware import chain as middleware_chain
from clew.seams.django.middleware import hooks as middleware_hooks
from clew.seams.django.middleware.cursor import enter, enter_with_hook, leave
from clew.seams.django.middleware.layer import Layer
from clew.source import code_location
from clew.story import local_trace

_building = threading.local()
_HANDLERS = ("_get_response", "_get_response_async")
_MARK = "_clew_traced_chain"


_AROUND_LAYER = Around(enter, close=leave, state=local_trace.current)
# The site's request hook is called in every request.
_AROUND_LAYER_WITH_HOOK = Around(enter_with_hook, close=leave)


def _traced_layer(call: Any, layer: Layer) -> Any:
    """`call` with its phases timed."""
    from asgiref.sync import iscoroutinefunction

    around = _AROUND_LAYER_WITH_HOOK if contrib.State.middleware_position else _AROUND_LAYER
    return around(call, is_async=iscoroutinefunction(call), layer=layer)


def _failing(exc: BaseException) -> None:
    """Django makes a response of a middleware's exception: noted before, so that rendering it is not its time."""
    local = local_trace.current()
    if local is not None and local.cursor is not None:
        local.cursor.fail(exc)


def _convert(get_response: Any) -> Layer | None:
    layers: list[Layer] | None = getattr(_building, "layers", None)
    if layers is None:
        return None
    layer = _layer_of(get_response)
    if layers:
        layers[-1].outer = layer
    layers.append(layer)
    return layer


def _converted(opened: Layer, result: Any) -> Any:
    return _traced_layer(result, opened)


def _nothing() -> None:
    """A layer that is being built is nothing to close."""


_CONVERT = Around(_convert, close=_nothing, replace=_converted)


def _build() -> tuple[list[Layer], list[Layer] | None]:
    layers: list[Layer] = []
    outer = getattr(_building, "layers", None)
    _building.layers = layers
    return layers, outer


def _built(handler: Any, /, opened: tuple[list[Layer], list[Layer] | None], error: BaseException | None) -> None:
    layers, _building.layers = opened
    middleware_hooks.trace_hooks(handler, layers)
    vars(handler)[_MARK] = _SetUp.mark


def _layer_of(target: Any) -> Layer:
    if getattr(target, "__name__", "") in _HANDLERS:
        return Layer("")
    function = code_location.unwrapped(target)
    dotted = code_location.dotted_name(function).partition(".<locals>")[0]
    return Layer(dotted, target)


class _SetUp:
    """What marks the handlers whose chain is traced; another object for each set-up."""

    mark = object()
    lock = threading.Lock()


def _adopt(handler: Any, /) -> None:
    """A request comes: a chain that was built before the set-up is traced from now on."""
    if vars(handler).get(_MARK) is not _SetUp.mark:
        with _SetUp.lock:
            if vars(handler).get(_MARK) is not _SetUp.mark and handler._middleware_chain is not None:
                _trace_chain(handler)
                vars(handler)[_MARK] = _SetUp.mark


def _trace_chain(handler: Any) -> None:
    layers: list[Layer] = []
    for cell in middleware_chain.layer_cells(handler._middleware_chain):
        layer = _layer_of(cell.cell_contents)
        layer.outer = layers[-1] if layers else None
        layers.append(layer)
        traced = _traced_layer(cell.cell_contents, layer)
        SEAM.undo_with(middleware_chain.replace_content(cell, traced))
    if layers:  # else it was built under an earlier set-up: its layers are ours already
        SEAM.undo_with(functools.partial(vars(handler).update, middleware_hooks.hooks_of(handler)))
        middleware_hooks.trace_hooks(handler, layers[::-1])


def _begin_set_up() -> None:
    _SetUp.mark = object()


SEAM = Seam(
    "django.middleware",
    patches=(
        Patch("django.core.handlers.base", "convert_exception_to_response", _CONVERT),
        Patch("django.core.handlers.base", "BaseHandler.load_middleware", Around(_build, close=_built)),
        Patch("django.core.handlers.base", "BaseHandler.get_response", Around(_adopt)),
        Patch("django.core.handlers.base", "BaseHandler.get_response_async", Around(_adopt)),
        Patch("django.core.handlers.exception", "response_for_exception", Around(_failing)),
    ),
    spans=(
        SpanDoc(
            "middleware SessionMiddleware request",
            "INTERNAL",
            "a phase of a middleware: request, view, template_response, exception, response",
            (
                *(names.DJANGO_MIDDLEWARE_NAME, names.DJANGO_MIDDLEWARE_PHASE),
                names.DJANGO_MIDDLEWARE_SHORT_CIRCUITED,
                *names.CODE,
            ),
        ),
    ),
    needs=needs.functions(
        "django.core.handlers.base",
        "BaseHandler._middleware_chain",
        *(f"BaseHandler.{name}" for name in (*_HANDLERS, *middleware_hooks.HOOKS)),
    ),
    on_install=_begin_set_up,
)
