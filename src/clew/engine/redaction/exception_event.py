"""How an exception is told on a span: class, message and traceback by the conventions, redacted, of a bounded size.

`str()` of an exception is the application's code and its message may be of any size: each is asked once, and a window
of its text is redacted once, then cut: a secret that lies across the cut has been seen whole.
"""

from __future__ import annotations

import asyncio

from clew import attributes as names
from clew.engine import redaction
from clew.engine.redaction import CleanAttributes, database_messages
from clew.engine.redaction.stack_text import stack_text

# Ends that are no errors of the application: the client went away, a generator was closed early.
CANCELLED = (asyncio.CancelledError, GeneratorExit)

MAX_MESSAGE = 2_048
MAX_STACK = 16_384
_WINDOW = 2 * MAX_MESSAGE
_MAX_NOTES = 5


def type_name(error: BaseException) -> str:
    """Qualified name of an exception's class, as `error.type` and `exception.type` want it."""
    kind = type(error)
    module = kind.__module__
    return kind.__qualname__ if not module or module == "builtins" else f"{module}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """An exception's message, redacted and cut; its class when `str()` of it fails."""
    try:
        return _clean(str(error), is_database=_is_database(error))
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"<{type(error).__name__}: str() failed>"


def error_description(error: BaseException) -> str:
    """Description of an ERROR status: class and message."""
    return _description(error, message_of(error))


def exception_attributes(error: BaseException, *, escaped: bool = True) -> CleanAttributes:
    """Attributes of an `exception` event (semantic conventions, exceptions)."""
    return _attributes(error, message_of(error), escaped=escaped)


def described(error: BaseException, *, escaped: bool = True) -> tuple[str, CleanAttributes]:
    """Description and event's attributes in one go: its message is asked for and redacted once."""
    message = message_of(error)
    return _description(error, message), _attributes(error, message, escaped=escaped)


def _description(error: BaseException, message: str) -> str:
    return f"{type(error).__name__}: {message}"


def _attributes(error: BaseException, message: str, *, escaped: bool) -> CleanAttributes:
    def tell(each: BaseException) -> str:
        return _last_lines(each, message if each is error else message_of(each))

    try:
        stack = _cut_stack(stack_text(error, tell, redaction.redactor.text))
    except Exception:  # noqa: BLE001 - what an exception holds is the application's, and may be anything
        stack = ""
    return CleanAttributes(
        {
            names.EXCEPTION_TYPE: type_name(error),
            names.EXCEPTION_MESSAGE: message,
            names.EXCEPTION_STACKTRACE: stack,
            names.EXCEPTION_ESCAPED: str(escaped),
        }
    )


def _last_lines(error: BaseException, message: str) -> str:
    notes = getattr(error, "__notes__", None)
    lines = [f"{type_name(error)}: {message}" if message else type_name(error)]
    if type(notes) is list:
        lines += [_clean(note, is_database=False) for note in notes[:_MAX_NOTES] if type(note) is str]
    return "\n".join(lines) + "\n"


def _clean(text: str, *, is_database: bool) -> str:
    window = text[:_WINDOW]
    if is_database:
        window = database_messages.without_values(window)
    redacted = redaction.redactor.text(window)
    if len(redacted) <= MAX_MESSAGE and len(text) <= _WINDOW:
        return redacted
    kept = redacted[:MAX_MESSAGE]
    return f"{kept} [{len(text) - len(kept)} characters are cut]"


def _cut_stack(stack: str) -> str:
    """The end of a long stack, from the beginning of a line."""
    if len(stack) <= MAX_STACK:
        return stack
    start = stack.find("\n", len(stack) - MAX_STACK) + 1 or len(stack) - MAX_STACK
    return f"[{start} characters are cut]\n{stack[start:]}"


def _is_database(error: BaseException) -> bool:
    """Whether it is a driver's, Django's or SQLAlchemy's error by PEP 249: those quote values."""
    return any(kind.__name__ == "DatabaseError" for kind in type(error).__mro__)
