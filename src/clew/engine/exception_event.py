"""How an exception is told on a span: class, message and traceback by the conventions, redacted."""

from __future__ import annotations

import asyncio
import traceback
from typing import Any

from clew import attributes as names
from clew.engine import redaction

# Ends that are no errors of the application: the client went away, a generator was closed early.
CANCELLED = (asyncio.CancelledError, GeneratorExit)


def type_name(error: BaseException) -> str:
    """Qualified name of an exception's class, as `error.type` and `exception.type` want it."""
    kind = type(error)
    module = kind.__module__
    return kind.__qualname__ if not module or module == "builtins" else f"{module}.{kind.__qualname__}"


def message_of(error: BaseException) -> str:
    """An exception's message, redacted; its class when `str()` of it fails."""
    try:
        return redaction.redactor.text(str(error))
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        return f"<{type(error).__name__}: str() failed>"


def error_description(error: BaseException) -> str:
    """Description of an ERROR status: class and message."""
    return f"{type(error).__name__}: {message_of(error)}"


def exception_attributes(error: BaseException, escaped: bool = True) -> dict[str, Any]:
    """Attributes of an `exception` event (semantic conventions, exceptions)."""
    try:
        stack = redaction.redactor.text("".join(traceback.format_exception(error)))
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        stack = ""
    return {
        names.EXCEPTION_TYPE: type_name(error),
        names.EXCEPTION_MESSAGE: message_of(error),
        names.EXCEPTION_STACKTRACE: stack,
        names.EXCEPTION_ESCAPED: str(escaped),
    }
