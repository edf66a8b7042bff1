"""No span: why the view's own code never ran, on the request (`django.view.denied_by`, `.denied_reason`).

We stand where Django says no: at `redirect_to_login` and `handle_no_permission`, which the decorators, mixins and
LoginRequiredMiddleware end in, at the CSRF middleware's `_reject`, and at what Django makes a 403 of. Who said no is
read from the frames: the test of a decorator, the class of a mixin, a decorator of the site's own that has not called
the view. Not told: a decorator of the site's own that makes another answer than these.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator
from types import FrameType, FunctionType, MethodType, TracebackType
from typing import Any

from clew import attributes as names
from clew.engine import needs
from clew.engine.redaction import redactor
from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around
from clew.engine.wrapper_source import FILE_NAME
from clew.source import code_location
from clew.story import local_trace
from clew.story.local_trace import LocalTrace

_AUTH = "django.contrib.auth"
_DECORATORS, _VIEWS, _MIXINS, _MIDDLEWARE = (
    f"{_AUTH}.{each}" for each in ("decorators", "views", "mixins", "middleware")
)
_ADMIN, _CSRF, _EXCEPTION = "django.contrib.admin.sites", "django.middleware.csrf", "django.core.handlers.exception"
_HANDLER, _FUNCTIONS = "django.core.handlers.base", (FunctionType, MethodType, functools.partial)
_MAX_FRAMES, _MAX_REASON = 60, 200


def denied(local: LocalTrace, by: str, reason: str) -> None:
    """Note that the view's own code has not run, and why."""
    local.is_view_reached = False
    local.root.note(names.DJANGO_VIEW_DENIED_BY, by)
    local.root.note(names.DJANGO_VIEW_DENIED_REASON, reason)


def _note_redirect(login_url: Any, caller: FrameType) -> None:
    local = local_trace.current()
    by = _who(caller) if local is not None else ""
    if local is not None and by:
        target = str.__str__(login_url) if issubclass(type(login_url), str) else "the login page"
        denied(local, by, f"redirected to {target.partition('?')[0][:_MAX_REASON]}")


def _who(frame: FrameType) -> str:
    """The decorator's test, the mixin's view or the middleware that redirects; "" where the view does."""
    for each in _outwards(frame):
        module = each.f_globals.get("__name__")
        if type(module) is not str or not module.startswith("django."):
            break
        if module == _DECORATORS and "test_func" in each.f_locals:
            return _test(each.f_locals["test_func"])
        if module == _ADMIN:
            return f"{_ADMIN}.AdminSite.has_permission"
        if module in (_MIXINS, _MIDDLEWARE):
            return code_location.dotted_name(type(each.f_locals.get("self")))
    return _decorator_of(_outwards(frame))


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    for _ in range(_MAX_FRAMES):
        if frame is None:
            return
        yield frame
        frame = frame.f_back


def _decorator_of(frames: Iterable[FrameType]) -> str:
    """The decorator that the handler has called and that has not called the view; "" for none."""
    between: list[FrameType] = []
    for frame in frames:
        if frame.f_globals.get("__name__") == _HANDLER and "callback" in frame.f_locals:
            view = code_location.decorated_view(frame.f_locals["callback"])
            code = getattr(code_location.unwrapped(view), "__code__", None)
            if code is None or not between or any(each.f_code is code for each in between):
                return ""
            return _named(next((each for each in between if _holds(each, code)), between[0]))
        if frame.f_code.co_filename != FILE_NAME:
            between.append(frame)
    return ""


def _holds(frame: FrameType, code: Any) -> bool:
    held = [frame.f_locals.get(name) for name in frame.f_code.co_freevars]
    views = [code_location.decorated_view(each) for each in held if type(each) in _FUNCTIONS]
    return any(getattr(code_location.unwrapped(each), "__code__", None) is code for each in views)


def _named(frame: FrameType) -> str:
    if frame.f_globals.get("__name__") == _DECORATORS and "test_func" in frame.f_locals:
        return _test(frame.f_locals["test_func"])
    name = getattr(frame.f_code, "co_qualname", frame.f_code.co_name)  # co_qualname: from Python 3.11 on
    return f"{frame.f_globals.get('__name__')}.{name.partition('.<locals>')[0]}"


def _test(test: Any) -> str:
    """`login_required` for Django's own tests, which are functions inside of it; else the site's test by its name."""
    name = code_location.dotted_name(test)
    return name.partition(".<locals>")[0] if name.startswith("django.") else name


def _note_refused(view: Any, /, error: BaseException | None) -> None:
    local = local_trace.current()
    if local is not None and error is not None:
        denied(local, code_location.dotted_name(type(view)), "permission denied (403)")


def _note_rejected(request: Any, reason: Any) -> None:
    local = local_trace.current()
    if local is not None:
        said = redactor.text(str.__str__(reason)) if issubclass(type(reason), str) else "CSRF"
        denied(local, f"{_CSRF}.CsrfViewMiddleware", said[:_MAX_REASON])


def _note_exception(exc: Any) -> None:
    """A 403 by an exception: by which decorator, Django's or the site's own, unless the view has raised it."""
    local = local_trace.current()
    if local is None or not _is_denial(exc):
        return
    if by := _decorator_of(list(inwards(exc.__traceback__))[::-1]):
        denied(local, by, "permission denied (403)")


def inwards(step: TracebackType | None) -> Iterator[FrameType]:
    """The frames an exception has left, from the outermost."""
    for _ in range(_MAX_FRAMES):
        if step is None:
            return
        yield step.tb_frame
        step = step.tb_next


def _is_denial(error: Any) -> bool:
    kinds = [f"{each.__module__}.{each.__qualname__}" for each in type(error).__mro__]
    return "django.core.exceptions.PermissionDenied" in kinds


SEAM = Seam(
    "django.access",
    patches=(
        Patch(_VIEWS, "redirect_to_login", Around(_note_redirect), is_imported_by_name=True),
        Patch(_MIXINS, "AccessMixin.handle_no_permission", Around(note=_note_refused)),
        Patch(_CSRF, "CsrfViewMiddleware._reject", Around(_note_rejected)),
        Patch(_EXCEPTION, "response_for_exception", Around(_note_exception)),
    ),
    needs=needs.inside(_DECORATORS, "user_passes_test", "test_func"),
)
