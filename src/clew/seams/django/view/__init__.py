"""`view accounts.views.user_profile`: the view, function or class-based (with its handler), sync or async.

We stand at `BaseHandler.make_view_atomic`, the last place that is given the resolved view before it is called, in both
the sync and the async handler; the span lies outside the request's transaction.
"""

from __future__ import annotations

import weakref
from typing import Any

from clew import attributes as names
from clew.engine.http_answer import is_answer
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.django.request.outcome import status_of
from clew.seams.django.view.identity import View
from clew.spans.scope import OpenSpan, Scope
from clew.story import local_trace

SCOPE = Scope(__name__)


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
    method = getattr(positional[0], "method", None) if positional else None
    name, attributes = view_of(callback).described(callback, method if isinstance(method, str) else "")
    return SCOPE.open(name, static=attributes)


def _close(opened: OpenSpan, result: Any, error: BaseException | None) -> None:
    if error is None and status_of(result) >= 500 and (local := local_trace.current()) is not None:
        error = local.answered_error  # a framework has made the answer of it (django.rest)
    opened.close(None if is_answer(error) else error)


_AROUND_VIEW = Around(_open, close=_close)


def _traced(view: Any, result: Any) -> Any:
    local = local_trace.current()
    if local is None or not local.is_recording:
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
            "the view: the function, Ninja's too; of a class-based one, its class, with the method that handles the "
            "request",
            (
                *(names.DJANGO_VIEW_NAME, names.DJANGO_VIEW_KIND, names.DJANGO_VIEW_HANDLER),
                *(names.GRAPHQL_OPERATION_NAME, names.GRAPHQL_OPERATION_TYPE),
                *names.CODE,
            ),
        ),
    ),
)
