"""`view accounts.views.user_profile`: the view, function or class-based (with its handler), sync or async.

We stand at `BaseHandler.make_view_atomic`, the last place that is given the resolved view before it is called, in both
the sync and the async handler; the span lies outside the request's transaction.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any

from asgiref.sync import iscoroutinefunction

from clew import attributes as names
from clew.core import around, code_location, local_trace
from clew.core.spans import OpenSpan, Scope
from clew.engine import isolation
from clew.engine.seam import Patch, Seam, SpanDoc, like

SCOPE = Scope(__name__)
# 4xx by exception: the view's way to answer, not an error of its own.
_ANSWERS = ("Http404", "PermissionDenied", "BadRequest", "SuspiciousOperation")


class View:
    """What is known of a view before it is called.

    Args:
        callback: what the URL resolved to.
    """

    __slots__ = ("_handler_codes", "kind", "name", "target")

    def __init__(self, callback: Any) -> None:
        below = callback
        while isinstance(below, functools.partial):
            below = below.func
        self.target = getattr(below, "view_class", None) or getattr(below, "cls", None)
        if self.target is not None:
            self.kind = "rest_framework" if hasattr(below, "cls") else "class"
            self.name = code_location.dotted_name(self.target)
        else:
            function = code_location.unwrapped(callback)
            self.kind = _kind(callback, function)
            self.name = code_location.dotted_name(function)
        self._handler_codes: dict[str, dict[str, Any]] = {}

    def attributes(self, callback: Any, method: str) -> dict[str, Any]:
        """Attributes of a call with this HTTP method."""
        found = self._handler_codes.get(method)
        if found is None:
            found = self._described(callback, method)
            if len(self._handler_codes) < 16:
                self._handler_codes[method] = found
        return dict(found)

    def _described(self, callback: Any, method: str) -> dict[str, Any]:
        described: dict[str, Any] = {names.DJANGO_VIEW_NAME: self.name, names.DJANGO_VIEW_KIND: self.kind}
        if self.target is None:
            return {**described, **code_location.code_attributes(callback)}
        handler = self._handler(callback, method.lower())
        described[names.DJANGO_VIEW_HANDLER] = handler
        code = getattr(self.target, handler, None) or getattr(self.target, "dispatch", None)
        described.update(code_location.code_attributes(code if code is not None else self.target))
        described[names.CODE_FUNCTION_NAME] = f"{self.name}.{handler}"
        return described

    def _handler(self, callback: Any, method: str) -> str:
        actions = getattr(callback, "actions", None) or {}  # a ViewSet's
        handler = actions.get(method) or actions.get("get" if method == "head" else method, method)
        if method == "head" and not hasattr(self.target, handler):
            handler = "get"
        return str(handler) if hasattr(self.target, handler) else "http_method_not_allowed"


def _kind(callback: Any, function: Any) -> str:
    if isinstance(callback, functools.partial):
        return "partial"
    return "function" if hasattr(function, "__code__") else "callable"


_views: weakref.WeakKeyDictionary[Any, View] = weakref.WeakKeyDictionary()


def view_of(callback: Any) -> View:
    """What is known of a view, looked up once."""
    try:
        found = _views.get(callback)
        if found is None:
            found = _views[callback] = View(callback)
        return found
    except TypeError:  # not hashable, or not weakly referable
        return View(callback)


def _open(callback: Any, request: Any) -> OpenSpan | None:
    local = local_trace.current()
    if local is None:
        return None
    local.notes["view"] = True
    if not local.is_recording:
        return None
    try:
        view = view_of(callback)
        return SCOPE.open(f"view {view.name}", view.attributes(callback, request.method or ""))
    except Exception as error:  # noqa: BLE001 - ours must not reach the application
        isolation.report(error, __name__)
        return None


def _close(span: OpenSpan, error: BaseException | None) -> None:
    around.close(span, None, None, None if is_answer(error) else error, __name__)


def is_answer(error: BaseException | None) -> bool:
    """Whether an exception is Django's way to answer 4xx."""
    return any(kind.__name__ in _ANSWERS and kind.__module__.startswith("django.") for kind in type(error).__mro__)


def _traced(view: Any, callback: Any) -> Any:
    if iscoroutinefunction(view):

        async def aview(request: Any, *args: Any, **kwargs: Any) -> Any:
            __traceback_hide__ = True
            span = _open(callback, request)
            if span is None:
                return await view(request, *args, **kwargs)
            error = None
            try:
                return await view(request, *args, **kwargs)
            except BaseException as raised:
                error = raised
                raise
            finally:
                _close(span, error)
                del error

        return aview

    def traced(request: Any, *args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True
        span = _open(callback, request)
        if span is None:
            return view(request, *args, **kwargs)
        error = None
        try:
            return view(request, *args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            _close(span, error)
            del error

    return traced


def _wrap_make_view_atomic(original: Any) -> Any:
    def make_view_atomic(self: Any, view: Any) -> Any:
        atomic = original(self, view)
        if local_trace.current() is None:
            return atomic
        return _traced(atomic, view)

    return like(original, make_view_atomic)


SEAM = Seam(
    "django.view",
    patches=(Patch("django.core.handlers.base", "BaseHandler.make_view_atomic", _wrap_make_view_atomic),),
    spans=(
        SpanDoc(
            "view accounts.views.user_profile",
            "INTERNAL",
            "the view; of a class-based one, its class, with the method that handles the request",
            (
                names.DJANGO_VIEW_NAME,
                names.DJANGO_VIEW_KIND,
                names.DJANGO_VIEW_HANDLER,
                names.CODE_FUNCTION_NAME,
                names.CODE_FILE_PATH,
                names.CODE_LINE_NUMBER,
            ),
        ),
    ),
)
