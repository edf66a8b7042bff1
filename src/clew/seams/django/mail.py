"""`send_mail smtp`: mail is given to a backend; how many messages and recipients, never who they are or what they say.

We stand at `send_messages` of Django's backends, which every way of sending mail ends in, and of those that the site's
settings name, once they are imported. Mail that a server is given inside an open transaction is told to the detector
`io_in_transaction`. Not seen: a backend of another class that is only named in a call.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextvars import ContextVar
from dataclasses import dataclass
from time import perf_counter_ns
from types import FrameType
from typing import Any

from clew import attributes as names
from clew.engine import needs
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.source.call_site import call_site
from clew.spans.scope import OpenSpan, Scope
from clew.story import transactions

SCOPE = Scope(__name__)
_BACKENDS = "django.core.mail.backends"
_SMTP = f"{_BACKENDS}.smtp"
_MAX_COUNTED = 1000
# The backend that is at work: what its method asks of the one it overwrites is no second sending.
_sending: ContextVar[int] = ContextVar("clew_mail_backend", default=0)


@dataclass(slots=True)
class Sending:
    """One call of `send_messages`; without a span where nothing is recorded."""

    span: OpenSpan | None
    outer: int
    began_ns: int
    is_remote: bool


def _open(backend: Any, /, positional: tuple[Any, ...], keywords: dict[str, Any], caller: FrameType) -> Sending | None:
    outer, kind = _sending.get(), type(backend)
    if outer == id(backend):
        return None
    messages = positional[1] if len(positional) > 1 else next(iter(keywords.values()), None)
    about = {names.DJANGO_MAIL_BACKEND: f"{kind.__module__}.{kind.__qualname__}"}
    span = SCOPE.open(f"send_mail {_short(kind)}", about)
    if span is not None:
        for name, value in _counts(messages):
            span.note(name, value)
        site = call_site(caller)
        for name, value in site.attributes().items() if site is not None else ():
            span.note(name, value)
    _sending.set(id(backend))
    # An HTTP client's call is told by its own instrumentation.
    is_remote = any(each.__module__ == _SMTP for each in kind.__mro__)
    return Sending(span, outer, perf_counter_ns(), is_remote)


def _short(kind: type) -> str:
    """`smtp` of Django's, `mailgun` of `anymail.backends.mailgun.EmailBackend`."""
    return kind.__module__.rpartition(".")[2] if kind.__name__ == "EmailBackend" else kind.__name__


def _counts(messages: Any) -> Iterator[tuple[str, int]]:
    if type(messages) not in (list, tuple):
        return  # to count it would use it up
    yield names.DJANGO_MAIL_MESSAGE_COUNT, len(messages)
    if len(messages) <= _MAX_COUNTED:
        held: list[dict[str, Any]] = [getattr(message, "__dict__", {}) for message in messages]
        lists: list[Any] = [each.get(name) for each in held for name in ("to", "cc", "bcc")]
        yield names.DJANGO_MAIL_RECIPIENT_COUNT, sum([len(each) for each in lists if type(each) in (list, tuple)])


def _note(opened: Sending, result: Any) -> None:
    if opened.span is not None and type(result) is int:
        opened.span.note(names.DJANGO_MAIL_SENT_COUNT, result)


def _close(opened: Sending, error: BaseException | None, caller: FrameType) -> None:
    _sending.set(opened.outer)
    if opened.span is not None:
        opened.span.close(error)
    for connection in transactions.open_connections() if opened.is_remote else ():
        transaction = transactions.open_on(connection)
        if transaction is not None:
            took_ns = perf_counter_ns() - opened.began_ns
            transaction.called(transactions.REMOTE, took_ns, "send_mail", call_site(caller))


_SEND = Around(_open, _note, close=_close)


def _stand_at_the_sites() -> None:
    """Stand at the backends that the settings name, too."""
    mailers = (_setting("MAILERS") or {}).values()
    for path in {_setting("EMAIL_BACKEND") or "", *(mailer.get("BACKEND", "") for mailer in mailers)}:
        module, _, name = path.rpartition(".")
        if module and not module.startswith(f"{_BACKENDS}."):
            SEAM.stand_at(Patch(module, f"{name}.send_messages", _SEND))


def _setting(name: str) -> Any:
    """Read where it is kept: asked for, a deprecated one warns."""
    held = sys.modules["django.conf"].settings._wrapped
    while held is not None and name not in vars(held):
        held = vars(held).get("default_settings")
    return None if held is None else vars(held)[name]


SEAM = Seam(
    "django.mail",
    patches=tuple(
        Patch(f"{_BACKENDS}.{name}", "EmailBackend.send_messages", _SEND)
        for name in ("smtp", "locmem", "console", "dummy")
    ),
    spans=(
        SpanDoc(
            "send_mail smtp",
            "INTERNAL",
            "messages are given to a mail backend; the line is the application's that sends them",
            (
                *(names.DJANGO_MAIL_BACKEND, names.DJANGO_MAIL_MESSAGE_COUNT, names.DJANGO_MAIL_RECIPIENT_COUNT),
                *(names.DJANGO_MAIL_SENT_COUNT, *names.CODE),
            ),
        ),
    ),
    on_ready=_stand_at_the_sites,
    needs=(
        *needs.functions("django.utils.functional", "LazyObject._wrapped"),
        *needs.attributes("django.conf", "UserSettingsHolder", "default_settings"),
    ),
)
