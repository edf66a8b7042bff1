"""`auth authenticate` (its backends below it: auth_backends.py), `auth login`, `auth logout`, `auth check_password`.

We stand at the functions of `django.contrib.auth`, which every login goes through, and not at their signals: these say
nothing of a backend that was slow, or of one that was never asked. Credentials, users and hashes are passed on and
never looked at, but for the name of the hash's algorithm.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from clew import attributes as names
from clew.core import around
from clew.core.spans import OpenSpan, Scope
from clew.engine import isolation
from clew.engine.exception_event import CANCELLED
from clew.engine.seam import Patch, Seam, SpanDoc, Wrap, like
from clew.seams.django import auth_backends
from clew.seams.django.auth_backends import Attempt

SCOPE = Scope(__name__)


def _open_authenticate(args: tuple[Any, ...], kwargs: dict[str, Any]) -> OpenSpan | None:
    outer = auth_backends.current()
    if outer is not None and outer.backends is None:
        return None  # Django 5.0 and 5.1: aauthenticate() calls authenticate() in a thread
    span = SCOPE.open("auth authenticate")
    if span is not None:
        auth_backends.make_current(Attempt(outer))
    return span


def _authenticated(span: Any, user: Any, error: BaseException | None) -> None:
    attempt = auth_backends.current()
    if attempt is None:
        return
    # First of all: whatever goes wrong below, the next call must not find this attempt.
    auth_backends.make_current(attempt.outer)
    if error is not None:
        if not isinstance(error, CANCELLED):
            span.note(names.DJANGO_AUTH_OUTCOME, "error")
    elif user is not None:
        span.note(names.DJANGO_AUTH_OUTCOME, "accepted")
        if attempt.accepted_by:
            span.note(names.DJANGO_AUTH_BACKEND, attempt.accepted_by)
    elif attempt.is_denied:
        span.note(names.DJANGO_AUTH_OUTCOME, "denied")
    else:
        attempt.skip()  # the span is still the current one: they go below it
        span.note(names.DJANGO_AUTH_OUTCOME, "declined")


def _wrap_get_backends(original: Any) -> Any:
    def _get_backends(*args: Any, **kwargs: Any) -> Any:
        backends = original(*args, **kwargs)
        attempt = auth_backends.current()
        if attempt is not None and attempt.backends is None:
            try:
                auth_backends.listed(attempt, backends, SEAM)
            except Exception as ours:  # noqa: BLE001 - ours must not reach the application
                isolation.report(ours, __name__)
        return backends

    return like(original, _get_backends)


_operation: ContextVar[str] = ContextVar("clew_auth_operation", default="")


def _around_operation(name: str) -> Wrap:
    def open_operation(args: tuple[Any, ...], kwargs: dict[str, Any]) -> OpenSpan | None:
        if _operation.get() == name:
            return None  # Django 5.0 and 5.1: alogin() calls login() in a thread
        span = SCOPE.open(f"auth {name}")
        if span is not None:
            _operation.set(name)
        return span

    def done(span: Any, result: Any, error: BaseException | None) -> None:
        _operation.set("")

    return around.around(open_operation, done)


def _open_check_password(args: tuple[Any, ...], kwargs: dict[str, Any]) -> OpenSpan | None:
    span = SCOPE.open("auth check_password")
    if span is not None:
        algorithm = _algorithm(args[1] if len(args) > 1 else kwargs.get("encoded"))
        if algorithm is not None:
            span.note(names.DJANGO_AUTH_HASHER, algorithm)
    return span


def _algorithm(encoded: Any) -> str | None:
    """Algorithm of an installed hasher; no part of `encoded`, which may be a password that was stored as it was."""
    if type(encoded) is not str:
        return None
    from django.contrib.auth.hashers import identify_hasher

    try:
        return str(identify_hasher(encoded).algorithm)
    except Exception:  # noqa: BLE001 - unusable, unknown or misconfigured: the check itself says so
        return None


def _at(function: str, wrap: Wrap, module: str = "django.contrib.auth", is_optional: bool = False) -> Patch:
    return Patch(module, function, wrap, is_imported_by_name=True, is_optional=is_optional)


SEAM = Seam(
    "django.auth",
    patches=(
        Patch("django.contrib.auth", "_get_backends", _wrap_get_backends, is_optional=True),
        _at("authenticate", around.around(_open_authenticate, _authenticated)),
        _at("aauthenticate", around.around(_open_authenticate, _authenticated), is_optional=True),
        _at("login", _around_operation("login")),
        _at("alogin", _around_operation("login"), is_optional=True),
        _at("logout", _around_operation("logout")),
        _at("alogout", _around_operation("logout"), is_optional=True),
        _at("check_password", around.around(_open_check_password), "django.contrib.auth.hashers"),
        _at("acheck_password", around.around(_open_check_password), "django.contrib.auth.hashers", is_optional=True),
    ),
    spans=(
        SpanDoc(
            "auth authenticate",
            "INTERNAL",
            "the search for a backend that accepts the credentials",
            (names.DJANGO_AUTH_OUTCOME, names.DJANGO_AUTH_BACKEND),
        ),
        SpanDoc(
            "auth backend ModelBackend",
            "INTERNAL",
            "one backend, in order; skipped: it does not take these credentials",
            (
                names.DJANGO_AUTH_BACKEND,
                names.DJANGO_AUTH_OUTCOME,
                names.CODE_FUNCTION_NAME,
                names.CODE_FILE_PATH,
                names.CODE_LINE_NUMBER,
            ),
        ),
        SpanDoc("auth login", "INTERNAL", "a user is put into the session"),
        SpanDoc("auth logout", "INTERNAL", "the session is emptied"),
        SpanDoc("auth check_password", "INTERNAL", "a password is compared with a hash", (names.DJANGO_AUTH_HASHER,)),
    ),
    on_uninstall=auth_backends.forget,
)
