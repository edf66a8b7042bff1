"""No span: why the view's own code never ran, on the request (`django.view.denied_by`, `.denied_reason`).

We stand where Django says no: at `redirect_to_login` and `handle_no_permission`, which the decorators, mixins and
LoginRequiredMiddleware end in, at the CSRF middleware's `_reject`, and at what Django makes a 403 of. Who said no is
read from the frames: the test of a decorator, the class of a mixin.
"""

from __future__ import annotations

from types import FrameType
from typing import Any

from clew import attributes as names
from clew.engine import needs
from clew.engine.redaction import redactor
from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around
from clew.source import code_location
from clew.story import local_trace
from clew.story.local_trace import LocalTrace

_AUTH = "django.contrib.auth"
_DECORATORS, _VIEWS, _MIXINS, _MIDDLEWARE = (
    f"{_AUTH}.{each}" for each in ("decorators", "views", "mixins", "middleware")
)
_ADMIN, _CSRF, _EXCEPTION = "django.contrib.admin.sites", "django.middleware.csrf", "django.core.handlers.exception"
_MAX_FRAMES, _MAX_REASON = 12, 200


def _denied(local: LocalTrace, by: str, reason: str) -> None:
    local.is_view_reached = False
    local.root.note(names.DJANGO_VIEW_DENIED_BY, by)
    local.root.note(names.DJANGO_VIEW_DENIED_REASON, reason)


def _note_redirect(login_url: Any, caller: FrameType) -> None:
    local = local_trace.current()
    by = _who(caller) if local is not None else ""
    if local is not None and by:
        target = str.__str__(login_url) if issubclass(type(login_url), str) else "the login page"
        _denied(local, by, f"redirected to {target.partition('?')[0][:_MAX_REASON]}")


def _who(frame: FrameType | None) -> str:
    """The decorator's test, the mixin's view or the middleware that redirects; "" where the application does."""
    for _ in range(_MAX_FRAMES):
        module = frame.f_globals.get("__name__") if frame is not None else None
        if frame is None or type(module) is not str or not module.startswith("django."):
            return ""
        if module == _DECORATORS and "test_func" in frame.f_locals:
            return _decorator(frame.f_locals["test_func"])
        if module == _ADMIN:
            return f"{_ADMIN}.AdminSite.has_permission"
        if module in (_MIXINS, _MIDDLEWARE):
            return code_location.dotted_name(type(frame.f_locals.get("self")))
        frame = frame.f_back
    return ""


def _decorator(test: Any) -> str:
    """`login_required` for Django's own tests, which are functions inside of it; else the site's test by its name."""
    name = code_location.dotted_name(test)
    return name.partition(".<locals>")[0] if name.startswith("django.") else name


def _note_refused(view: Any, /, error: BaseException | None) -> None:
    local = local_trace.current()
    if local is not None and error is not None:
        _denied(local, code_location.dotted_name(type(view)), "permission denied (403)")


def _note_rejected(request: Any, reason: Any) -> None:
    local = local_trace.current()
    if local is not None:
        said = redactor.text(str.__str__(reason)) if issubclass(type(reason), str) else "CSRF"
        _denied(local, f"{_CSRF}.CsrfViewMiddleware", said[:_MAX_REASON])


def _note_exception(exc: Any) -> None:
    """A 403 by an exception: whose function raised it, if that is one of Django's decorators."""
    local = local_trace.current()
    if local is None or not _is_denial(exc):
        return
    step = exc.__traceback__
    while step is not None and step.tb_next is not None:
        step = step.tb_next
    if step is not None and step.tb_frame.f_globals.get("__name__") == _DECORATORS:
        _denied(local, f"{_DECORATORS}.permission_required", "permission denied (403)")


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
