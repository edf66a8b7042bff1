"""`view accounts.views.user_profile`: the view, function or class-based (with its handler), sync or async.

We stand at `BaseHandler.make_view_atomic`, the last place that is given the resolved view before it is called, in both
the sync and the async handler; the span lies outside the request's transaction.
"""

from __future__ import annotations

import functools
import weakref
from typing import Any

from clew import attributes as names
from clew.engine.http_answer import is_answer
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.source import code_location
from clew.spans.scope import OpenSpan, Scope
from clew.story import local_trace

SCOPE = Scope(__name__)


class View:
    """What is known of a view before it is called.

    Args:
        callback: what the URL resolved to.
    """

    __slots__ = ("_handler_codes", "function", "kind", "name", "target")

    def __init__(self, callback: Any) -> None:
        below = code_location.decorated_view(callback)
        self.target: Any = code_location.view_class(below)
        self.function = below
        if self.target is not None:
            self.kind = "rest_framework" if hasattr(below, "cls") else "class"
            self.name = code_location.dotted_name(self.target)
        else:
            function = code_location.unwrapped(below)
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
            return {**described, **code_location.code_attributes(self.function)}
        handler = self._handler(self.function, method.lower())
        described[names.DJANGO_VIEW_HANDLER] = handler
        code = getattr(self.target, handler, None) or getattr(self.target, "dispatch", None)
        described.update(code_location.code_attributes(code if code is not None else self.target))
        described[names.CODE_FUNCTION_NAME] = f"{self.name}.{handler}"
        return described

    def _handler(self, callback: Any, method: str) -> str:
        actions = getattr(callback, "actions", None)  # a ViewSet's
        actions = actions if isinstance(actions, dict) else {}
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


def _open(callback: Any, positional: tuple[Any, ...]) -> OpenSpan | None:
    local = local_trace.current()
    if local is None:
        return None
    local.is_view_reached = True
    if not local.is_recording:
        return None
    view = view_of(callback)
    method = getattr(positional[0], "method", None) if positional else None
    return SCOPE.open(f"view {view.name}", view.attributes(callback, method if isinstance(method, str) else ""))


def _close(opened: OpenSpan, error: BaseException | None) -> None:
    opened.close(None if is_answer(error) else error)


_AROUND_VIEW = Around(_open, close=_close)


def _traced(view: Any, result: Any) -> Any:
    if local_trace.current() is None:
        return result
    from asgiref.sync import iscoroutinefunction

    return _AROUND_VIEW.quickly(result, is_generic=True, is_async=iscoroutinefunction(result), callback=view)


SEAM = Seam(
    "django.view",
    patches=(Patch("django.core.handlers.base", "BaseHandler.make_view_atomic", Around(replace=_traced)),),
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
