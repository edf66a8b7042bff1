"""What must not leave the process: values under secret names, and secrets inside text.

Applied where something is recorded (messages, query strings, headers), and by processors/redact.py to the spans of
others. Patterns are linear: a hostile string costs no more than its length.
"""

from __future__ import annotations

import re

REDACTED = "[redacted]"
MAX_TEXT = 65_536

SECRET_WORDS = [
    "password",
    "passwd",
    "passphrase",
    "pwd",
    "secret",
    "token",
    "api_key",
    "apikey",
    "api-key",
    "access_key",
    "private_key",
    "credential",
    "authorization",
    "cookie",
    "sessionid",
    "session_key",
    "session-key",
    "csrf",
    "csrfmiddlewaretoken",
    "signature",
    "sig",
    "x-amz-signature",
    "x-goog-signature",
    "awsaccesskeyid",
    "set-cookie",
    "otp",
    "pin",
    "ssn",
    "card_number",
    "cvv",
    "jwt",
]
# Secret wherever they stand in a name; the shorter words must be the whole name or a part between separators.
_ANYWHERE = (
    "password",
    "passwd",
    "passphrase",
    "secret",
    "token",
    "credential",
    "authorization",
    "cookie",
    "api_key",
    "apikey",
)


class Redactor:
    """Redacts by name and by pattern.

    Args:
        more_names: further names whose values are secrets.
    """

    def __init__(self, more_names: tuple[str, ...] = ()) -> None:
        words = {*SECRET_WORDS, *(name.lower() for name in more_names)}
        anywhere = "|".join(re.escape(word) for word in (*_ANYWHERE, *(name.lower() for name in more_names)))
        alone = "|".join(re.escape(word) for word in sorted(words, key=len, reverse=True))
        self._name = re.compile(rf"(?:{anywhere})|(?:^|[._\-\[ ])(?:{alone})(?:$|[._\-\] ])", re.IGNORECASE)
        key = rf"(?:[\w.\-]{{0,40}}(?:{anywhere})[\w\-]{{0,40}}|\b(?:{alone})\b)"
        self._pair = re.compile(
            rf"""(?P<key>{key})(?P<sep>["']?\s{{0,3}}(?:=>|[=:])\s{{0,3}})"""
            r"""(?:(?P<quote>["']).{0,2000}?(?P=quote)|(?:(?:Bearer|Basic|Token)\s+)?[^\s&;,"'<>)\]}]+)""",
            re.IGNORECASE,
        )
        self._query_key = re.compile(rf"^(?:{key})$", re.IGNORECASE)

    def is_secret_name(self, name: str) -> bool:
        """Whether a value under this name (an attribute, a header, a parameter) must not be recorded."""
        return self._name.search(name) is not None

    def text(self, text: str) -> str:
        """The text without credentials in URLs, bearer tokens, JSON web tokens and `secret=value` pairs."""
        if len(text) > MAX_TEXT:
            text = text[:MAX_TEXT]
        if "://" in text:
            text = _USERINFO.sub(rf"\g<1>{REDACTED}@", text)
        if _RETRIED in text:
            text = _ARGUMENTS.sub(rf"\g<1> args:{REDACTED} kwargs:{REDACTED}", text)
        if "eyJ" in text:
            text = _JWT.sub(REDACTED, text)
        if "=" in text or ":" in text:
            text = self._pair.sub(rf"\g<key>\g<sep>{REDACTED}", text)
        return _BEARER.sub(rf"\g<1> {REDACTED}", text)

    def query(self, query: str) -> str:
        """A query string with the values of secret parameters replaced."""
        if not query:
            return query
        parts = query[:MAX_TEXT].split("&")
        for at, part in enumerate(parts):
            name, sep, value = part.partition("=")
            if sep and value and self.is_secret_name(name):
                parts[at] = f"{name}={REDACTED}"
        return "&".join(parts)


_USERINFO = re.compile(r"(\b[a-zA-Z][a-zA-Z0-9+.\-]{0,20}://)[^/@\s]{1,200}@")
_JWT = re.compile(r"\beyJ[\w\-]{8,}\.[\w\-]{8,}\.[\w\-]*")
# Celery puts a task's arguments into the message of its MaxRetriesExceededError.
_RETRIED = "Can't retry "
_ARGUMENTS = re.compile(r"(Can't retry [^\n\[]{1,300}\[[^\n\]]{0,300}\]) args:[^\n]*")
_BEARER = re.compile(r"\b(Bearer|Basic)\s+[A-Za-z0-9+/=_.\-]{8,}", re.IGNORECASE)

redactor = Redactor()


def configure(more_names: tuple[str, ...]) -> None:
    """Make the process's redactor know these names too."""
    global redactor
    redactor = Redactor(more_names)
