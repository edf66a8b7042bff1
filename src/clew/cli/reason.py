"""An exception of somebody else's as a part of one line."""

from __future__ import annotations

from collections.abc import Iterable

from clew.engine import redaction


def reason(error: BaseException, secrets: Iterable[str | None] = ()) -> str:
    """Its class and message in one line, without credentials.

    Args:
        error: the exception.
        secrets: values that must not appear, also where no pattern tells that they are secret.
    """
    try:
        text = " ".join(str(error).split())
    except Exception:  # noqa: BLE001 - a user's __str__ may raise anything
        text = ""
    for secret in secrets:
        if secret:
            text = text.replace(secret, redaction.REDACTED)
    name = type(error).__name__
    return redaction.redactor.text(f"{name}: {text}" if text else name)
