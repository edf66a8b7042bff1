"""Secrets as people and tools write them: command lines, HTML forms, escaped pairs, sentences."""

from __future__ import annotations

import re
from collections.abc import Callable
from re import Match

from clew.engine.redaction.secret_names import WORD
from clew.engine.redaction.secret_shapes import REDACTED

# `mysql -pSECRET`, `sshpass -p SECRET`, `redis-cli -a SECRET`, `curl -u user:SECRET`.
_SHORT_OPTION = re.compile(
    r"""\b((?:mysql(?:dump|admin|import)?|mariadb(?:-dump)?)\b[^\n|;]{0,200}? -p(?=\S)"""
    r"""|(?:sshpass|mongo(?:sh|dump|restore)?)\b[^\n|;]{0,200}? -p[ ]"""
    r"""|redis-cli\b[^\n|;]{0,200}? -a[ ]|sqlcmd\b[^\n|;]{0,200}? -P[ ]"""
    r"""|(?:curl|wget|https?)\b[^\n|;]{0,200}? -u[ ]{0,1}["']?[\w.@\-]{1,64}:)(?!\[redacted)[^\s"'|;,\]]{3,200}"""
)
_INPUT = re.compile(r"<input\b[^<>]{0,1000}>", re.IGNORECASE)
_NAME_OF_INPUT = re.compile(r"""\bname=["']?([\w.\-\[\]]{1,80})""", re.IGNORECASE)
_VALUE_OF_INPUT = re.compile(r"""(\bvalue=)("[^"]{1,900}"|'[^']{1,900}'|[^\s>"']{1,900})""", re.IGNORECASE)
_QUOTE = r"(?:&quot;|&#34;|&#x22;|&#39;|&#x27;|\\u0022|\\u0027)"
_ESCAPED_PAIR = re.compile(
    rf"((?<![\w.\-])([\w.\-]{{1,80}}){_QUOTE}[ \t]{{0,3}}[:=,][ \t]{{0,3}}[bu\[(]{{0,3}}{_QUOTE})"
    rf"(?!{_QUOTE})(?:(?!{_QUOTE}).){{1,4000}}",
    re.IGNORECASE,
)
_ESCAPED_EQUALS = re.compile(r"(\b([\w.\-]{1,80})\\u003[dD])(?!\[redacted)[^\s\"'&\\,;]{1,4000}")
# What is said has a digit in it: `the password is too short` says none.
_SAID = re.compile(
    r"""\b((?:(?:otp|totp|one[- ]time|verification|confirmation|security|login|2fa|mfa|sms)[ -]"""
    r"""(?:code|password|passcode|pin|token)|password|passphrase|passcode|pin|otp|token|api key|secret)"""
    r"""[ ](?:(?:is|was|were|set to|for [\w.@\-]{1,64} is)[ ]|(?=[A-Za-z]{0,9}\d{4,12}\b))["']?)"""
    r"""(?!\[redacted)(?=[^\s\d]{0,60}\d)[^\s"',;()]{4,200}""",
    re.IGNORECASE,
)
_SECRET_TYPE = re.compile(r"""\b(Secret(?:Str|Bytes)?\((?:value=)?b?)(['"])[^'"\n]{1,4000}""")


def without_phrases(text: str, lowered: str, degree_of: Callable[[str], int]) -> str:
    """The text without such secrets.

    Args:
        text: any text.
        lowered: the same in lower case.
        degree_of: how secret a name is (`secret_names`).
    """

    def named(match: Match[str]) -> str:
        return f"{match[1]}{REDACTED}" if degree_of(match[2]) >= WORD else match[0]

    def of_input(match: Match[str]) -> str:
        name = _NAME_OF_INPUT.search(match[0])
        if name is None or degree_of(name[1]) < WORD:
            return match[0]
        return _VALUE_OF_INPUT.sub(rf'\g<1>"{REDACTED}"', match[0])

    if " -" in text:
        text = _SHORT_OPTION.sub(rf"\g<1>{REDACTED}", text)
    if "<input" in lowered:
        text = _INPUT.sub(of_input, text)
    if "&quot;" in text or "&#" in text or "\\u00" in text:
        text = _ESCAPED_EQUALS.sub(named, _ESCAPED_PAIR.sub(named, text))
    if "Secret" in text:
        text = _SECRET_TYPE.sub(rf"\g<1>\g<2>{REDACTED}", text)
    for sign in _SIGNS:
        if sign in lowered:
            return _SAID.sub(rf"\g<1>{REDACTED}", text)
    return text


_SIGNS = ("code ", "pass", "pin ", "otp ", "token ", "key ", "secret ")
