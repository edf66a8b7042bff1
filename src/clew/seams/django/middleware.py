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

from asgiref.sync import iscoroutinefunction, markcoroutinefunction

from clew import attributes as names
from clew.core import code_location, local_trace
from clew.engine import isolation
from clew.engine.seam import Patch, Seam, SpanDoc, like
from clew.seams.django import contrib, middleware_chain, middleware_hooks
from clew.seams.django.middleware_cursor import SCOPE_NAME, Cursor, Layer, cursor_of
from clew.seams.django.request import call_request_hook

_building = threading.local()
_HANDLERS = ("_get_response", "_get_response_async")


def _unrecorded(layer: Layer, request: Any, local: local_trace.LocalTrace | None) -> None:
    if local is not None and layer.is_hook_position:
        call_request_hook(request, local)


def _entered(layer: Layer, request: Any, local: local_trace.LocalTrace) -> Cursor | None:
    try:
        if layer.is_hook_position:
            call_request_hook(request, local)
        cursor = local.cursor or cursor_of(local)
        cursor.enter(layer)
        return cursor
    except Exception as error:  # noqa: BLE001 - ours must not reach the application
        isolation.report(error, SCOPE_NAME)
        return None


def _left(cursor: Cursor | None, layer: Layer) -> None:
    if cursor is not None:
        try:
            cursor.leave(layer)
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, SCOPE_NAME)


def _failed(local: local_trace.LocalTrace | None, error: BaseException) -> None:
    if local is not None and local.cursor is not None:
        try:
            local.cursor.fail(error)
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, SCOPE_NAME)


def _traced_layer(call: Any, layer: Layer) -> Any:
    """`call` with its phases timed."""
    if iscoroutinefunction(call):

        async def alayer(request: Any) -> Any:
            __traceback_hide__ = True
            local = local_trace.current()
            if local is None or not local.is_recording:
                _unrecorded(layer, request, local)
                return await call(request)
            cursor = _entered(layer, request, local)
            try:
                return await call(request)
            except BaseException as error:
                _failed(local, error)
                raise
            finally:
                _left(cursor, layer)

        return markcoroutinefunction(like(call, alayer))

    def traced(request: Any) -> Any:
        __traceback_hide__ = True
        local = local_trace.current()
        if local is None or not local.is_recording:
            _unrecorded(layer, request, local)
            return call(request)
        cursor = _entered(layer, request, local)
        try:
            return call(request)
        except BaseException as error:
            _failed(local, error)
            raise
        finally:
            _left(cursor, layer)

    return like(call, traced)


def _wrap_response_for_exception(original: Any) -> Any:
    """Django makes a response of a middleware's exception: noted before, so that rendering it is not its time."""

    def response_for_exception(request: Any, exc: Any) -> Any:
        _failed(local_trace.current(), exc)
        return original(request, exc)

    return like(original, response_for_exception)


def _wrap_convert(original: Any) -> Any:
    def convert_exception_to_response(get_response: Any) -> Any:
        layers: list[Layer] | None = getattr(_building, "layers", None)
        if layers is None:
            return original(get_response)
        try:
            layer = _layer_of(get_response)
            if layers:
                layers[-1].outer = layer
            layers.append(layer)
        except Exception as error:  # noqa: BLE001 - ours must not reach the application
            isolation.report(error, SCOPE_NAME)
            return original(get_response)
        return _traced_layer(original(get_response), layer)

    return like(original, convert_exception_to_response)


def _layer_of(target: Any) -> Layer:
    if getattr(target, "__name__", "") in _HANDLERS:
        return Layer("")
    function = code_location.unwrapped(target)
    dotted = code_location.dotted_name(function).partition(".<locals>")[0]
    return Layer(dotted, target)


def _wrap_load_middleware(original: Any) -> Any:
    def load_middleware(self: Any, *args: Any, **kwargs: Any) -> Any:
        _insert_sql_commenter()
        outer = getattr(_building, "layers", None)
        layers: list[Layer] = []
        _building.layers = layers
        try:
            return original(self, *args, **kwargs)
        finally:
            _building.layers = outer
            middleware_hooks.trace_hooks(self, layers)

    return like(original, load_middleware)


def _insert_sql_commenter() -> None:
    if not contrib.State.is_sql_commenter_on:
        return
    from django.conf import settings

    if contrib.SQL_COMMENTER not in settings.MIDDLEWARE:
        chain = list(settings.MIDDLEWARE)
        chain.insert(contrib.State.middleware_position, contrib.SQL_COMMENTER)
        settings.MIDDLEWARE = chain


def _trace_living_chains() -> None:
    for handler in middleware_chain.living_handlers():
        layers: list[Layer] = []
        cells = middleware_chain.layer_cells(handler._middleware_chain)
        if not cells:
            continue  # built under an earlier set-up: its layers are ours already
        for cell in cells:
            layer = _layer_of(cell.cell_contents)
            layer.outer = layers[-1] if layers else None
            layers.append(layer)
            traced = _traced_layer(cell.cell_contents, layer)
            SEAM.undo_with(middleware_chain.replace_content(cell, traced))
        SEAM.undo_with(functools.partial(vars(handler).update, middleware_hooks.hooks_of(handler)))
        middleware_hooks.trace_hooks(handler, layers[::-1])


SEAM = Seam(
    "django.middleware",
    patches=(
        Patch("django.core.handlers.base", "convert_exception_to_response", _wrap_convert),
        Patch("django.core.handlers.base", "BaseHandler.load_middleware", _wrap_load_middleware),
        Patch("django.core.handlers.exception", "response_for_exception", _wrap_response_for_exception),
    ),
    spans=(
        SpanDoc(
            "middleware SessionMiddleware request",
            "INTERNAL",
            "a phase of a middleware: request, view, template_response, exception, response",
            (
                names.DJANGO_MIDDLEWARE_NAME,
                names.DJANGO_MIDDLEWARE_PHASE,
                names.DJANGO_MIDDLEWARE_SHORT_CIRCUITED,
                names.CODE_FUNCTION_NAME,
                names.CODE_FILE_PATH,
                names.CODE_LINE_NUMBER,
            ),
        ),
    ),
    on_install=_trace_living_chains,
)
