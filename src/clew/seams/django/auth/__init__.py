"""`auth authenticate` with its backends, `auth login`, `logout`, `check_password`, `load_user`, `has_perm`.

We stand at the functions of `django.contrib.auth`, which every login goes through, and not at their signals: these say
nothing of a backend that was slow, or of one that was never asked. Credentials, users and hashes are passed on and
never looked at; the name of a hash's algorithm is the one Django finds (`identify_hasher`).
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from opentelemetry.trace import get_current_span

from clew import attributes as names
from clew.engine import configuration, needs
from clew.engine.redaction.exception_event import CANCELLED
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.django.auth import backends as auth_backends
from clew.seams.django.auth.backends import Attempt
from clew.seams.django.auth.permissions import Permissions
from clew.spans.light_span import LightSpan
from clew.spans.scope import OpenSpan, Scope
from clew.story import local_trace
from clew.story.session_use import renewals

SCOPE = Scope(__name__)


def _open_authenticate() -> OpenSpan | None:
    outer = auth_backends.current()
    if outer is not None and outer.backends is None:
        return None  # Django 5.0 and 5.1: aauthenticate() calls authenticate() in a thread
    span = SCOPE.open("auth authenticate")
    if span is not None:
        auth_backends.make_current(Attempt(outer))
    return span


def _authenticated(opened: OpenSpan, result: Any, error: BaseException | None) -> None:
    attempt = auth_backends.current()
    if attempt is None:
        return
    # First of all: whatever goes wrong below, the next call must not find this attempt.
    auth_backends.make_current(attempt.outer)
    if error is not None:
        if not isinstance(error, CANCELLED):
            opened.note(names.DJANGO_AUTH_OUTCOME, "error")
    elif result is not None:
        opened.note(names.DJANGO_AUTH_OUTCOME, "accepted")
        if attempt.accepted_by:
            opened.note(names.DJANGO_AUTH_BACKEND, attempt.accepted_by)
    else:
        if not attempt.denied_by:
            attempt.skip()  # the span is still the current one: they go below it
        opened.note(names.DJANGO_AUTH_OUTCOME, "denied" if attempt.denied_by else "declined")
        said = {names.DJANGO_AUTH_REASON: attempt.reason}
        opened.note(names.DJANGO_AUTH_REASON, attempt.reason)
        opened.span.add_event("django.auth.login_failed", said)


def _note_active(result: Any) -> None:
    attempt = auth_backends.current()
    if attempt is not None and result is False:
        attempt.is_inactive = True


def _note_backends(result: Any) -> None:
    attempt = auth_backends.current()
    if attempt is not None and attempt.backends is None:
        auth_backends.listed(attempt, result, SEAM)


_operation: ContextVar[str] = ContextVar("clew_auth_operation", default="")


def _operation_named(name: str) -> Around:
    def open_operation() -> tuple[OpenSpan, tuple[int, int]] | None:
        if _operation.get() == name:
            return None  # Django 5.0 and 5.1: alogin() calls login() in a thread
        span, local = SCOPE.open(f"auth {name}"), local_trace.current()
        if span is None:
            return None
        _operation.set(name)
        return span, (0, 0) if local is None else renewals(local)

    def close_operation(opened: tuple[OpenSpan, tuple[int, int]], error: BaseException | None) -> None:
        _operation.set("")
        span, (cycled, flushed) = opened
        local = local_trace.current()
        if local is not None and error is None and configuration.settings.django_session:
            now = renewals(local)
            became = "flushed" if now[1] > flushed else "cycled" if now[0] > cycled else "kept"
            span.note(names.DJANGO_AUTH_SESSION, became)
        span.close(error)

    return Around(open_operation, close=close_operation)


def _open_check_password() -> OpenSpan | None:
    return SCOPE.open(_CHECK_PASSWORD)


def _note_hasher(result: Any) -> None:
    """What Django has found out itself; no part of the hash, which may be a password that was stored as it was."""
    algorithm = getattr(result, "algorithm", None)
    if type(algorithm) is str:
        _note_on_check({names.DJANGO_AUTH_HASHER: algorithm})


def _note_upgrade(caller: Any) -> None:
    """`check_password` itself makes a hash only to take as long as if there were one."""
    if caller.f_globals.get("__name__") != _HASHERS:
        _note_on_check({names.DJANGO_AUTH_UPGRADED: True})


def _note_on_check(said: dict[str, Any]) -> None:
    span: Any = get_current_span()
    # By identity: no other span has this very name.
    if getattr(span, "name", None) is _CHECK_PASSWORD:
        note = span.note if isinstance(span, LightSpan) else span.set_attribute
        for name, value in said.items():
            note(name, value)


_CHECK_PASSWORD = "auth check_password"
_AUTH, _HASHERS = "django.contrib.auth", "django.contrib.auth.hashers"
_AUTHENTICATE, _LOGIN, _LOGOUT = (
    Around(_open_authenticate, _authenticated),
    _operation_named("login"),
    _operation_named("logout"),
)
_CHECK = Around(_open_check_password)


def _at(module: str, function: str, around: Around, since: str = "") -> Patch:
    return Patch(module, function, around, is_imported_by_name=True, since=since)


SEAM = Seam(
    "django.auth",
    patches=(
        Patch(_AUTH, "_get_backends", Around(note=_note_backends)),
        _at(_AUTH, "authenticate", _AUTHENTICATE),
        _at(_AUTH, "aauthenticate", _AUTHENTICATE, since="5.0"),
        _at(_AUTH, "login", _LOGIN),
        _at(_AUTH, "alogin", _LOGIN, since="5.0"),
        _at(_AUTH, "logout", _LOGOUT),
        _at(_AUTH, "alogout", _LOGOUT, since="5.0"),
        _at(_HASHERS, "check_password", _CHECK),
        _at(_HASHERS, "acheck_password", _CHECK, since="5.0"),
        Patch(_HASHERS, "identify_hasher", Around(note=_note_hasher)),
        _at(_HASHERS, "make_password", Around(_note_upgrade)),
        Patch(f"{_AUTH}.backends", "ModelBackend.user_can_authenticate", Around(note=_note_active)),
        *Permissions(SCOPE).patches,
    ),
    needs=needs.attributes(_HASHERS, "BasePasswordHasher", "algorithm"),
    spans=(
        SpanDoc(
            "auth authenticate",
            "INTERNAL",
            "the search for a backend that accepts the credentials",
            (names.DJANGO_AUTH_OUTCOME, names.DJANGO_AUTH_BACKEND, names.DJANGO_AUTH_REASON),
        ),
        SpanDoc(
            "auth backend ModelBackend",
            "INTERNAL",
            "one backend, in order; skipped: it does not take these credentials",
            (
                names.DJANGO_AUTH_BACKEND,
                names.DJANGO_AUTH_OUTCOME,
                *names.CODE,
            ),
        ),
        SpanDoc("auth login", "INTERNAL", "a user is put into the session", (names.DJANGO_AUTH_SESSION,)),
        SpanDoc("auth logout", "INTERNAL", "the session is emptied", (names.DJANGO_AUTH_SESSION,)),
        SpanDoc(
            "auth check_password",
            "INTERNAL",
            "a password is compared with a hash",
            (names.DJANGO_AUTH_HASHER, names.DJANGO_AUTH_UPGRADED),
        ),
        SpanDoc(
            "auth load_user",
            "INTERNAL",
            "the user is loaded for the request; the line is the one that first asked for it",
            (names.DJANGO_AUTH_ANONYMOUS, *names.CODE),
        ),
        SpanDoc(
            "auth has_perm",
            "INTERNAL",
            "the backends are asked for a permission, of superusers they are not; `auth has_module_perms` likewise",
            (
                names.DJANGO_AUTH_PERMISSION,
                names.DJANGO_AUTH_OBJECT,
                names.DJANGO_AUTH_GRANTED,
                names.DJANGO_AUTH_QUERY_COUNT,
                *names.CODE,
            ),
        ),
    ),
    on_uninstall=auth_backends.reset,
)
