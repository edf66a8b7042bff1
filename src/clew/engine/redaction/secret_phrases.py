"""Secrets as people and tools write them: forms, pairs told apart by their fields, calls, sentences."""

from __future__ import annotations

import re
from collections.abc import Callable
from re import Match

from clew.engine.redaction.command_lines import without_options
from clew.engine.redaction.secret_names import WORD
from clew.engine.redaction.secret_shapes import REDACTED

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
# A code of its own look: `token 8f3kd92k is invalid`.
_RANDOM = r"(?=[^\s\d]{0,60}\d)(?=[^\sA-Za-z]{0,60}[A-Za-z])[A-Za-z0-9\-+=!@#$%^&*~]{8,200}(?![\w./(:])"
_NAMED_WORD = re.compile(
    r"\b((?:password|passphrase|passcode|passwort|(?:api|access|secret) key|(?:access |refresh )?token) (?:ist )?)"
    rf"{_RANDOM}",
    re.IGNORECASE,
)
# So long and mixed is no path and no word.
_NAMED_KEY = re.compile(
    r"(\b(?:[Pp]assword|[Pp]assphrase|(?:A(?:PI|ccess)|a(?:pi|ccess)|[Ss]ecret) [Kk]ey|[Tt]oken|[Ss]ession(?: id)?) )"
    r"(?=[^\s\d]{0,60}\d)(?=[^\sA-Z]{0,60}[A-Z])(?=[^\sa-z]{0,60}[a-z])[\w+=\-~][\w/+=\-~]{19,400}(?![\w./(:])"
)
_SESSION = re.compile(rf"\b(session (?:id |key )?)(?=\w{{16}}){_RANDOM}", re.IGNORECASE)
_QUOTED_TOKEN = re.compile(r"""\b(token ([\"'`]))(?=[^\"'`\n]{0,60}\d)[\w\-.+/=]{8,200}(?=\2)""", re.IGNORECASE)
_CALL = re.compile(
    r"""\b(\w{0,20}(?:check|set|verify|validate|make|hash)_(?:password|token|secret|pin|otp)\(b?)(["'])[^"'\n]{1,200}(?=\2)"""
)
# Pydantic echoes what it was given, under any name.
_INPUT_VALUE = re.compile(r"(\binput_value=)[^\n]{1,400}?(?=, input_type=)")
_OF_FIELD = re.compile(
    r"""(\bvalue (["']))(?!\[redacted)[^"'\n]{1,200}"""
    r"""(?=\2 for (?:field|column|parameter|argument|key) ["']?([\w.\-]{1,80}))"""
)
_FIELDS = re.compile(
    r"""(\b(?:name|key)\\{0,3}["']?[ ]{0,3}[:=][ ]{0,3}\\{0,3}["']([\w.\-]{1,80})\\{0,3}["'],?\s{0,3}"""
    r"""(?:\\{0,3}["']\w{1,20}\\{0,3}["'][ ]{0,3}:[ ]{0,3}\\{0,3}["']?[\w./\-]{0,60}\\{0,3}["']?,\s{0,3}){0,2}"""
    r"""\\{0,3}["']?\bvalue\\{0,3}["']?[ ]{0,3}[:=][ ]{0,3}\\{0,3}["'])(?!\[redacted)[^"'\n\\]{1,4000}""",
    re.IGNORECASE,
)
_VALUE_FIRST = re.compile(
    r"""(\bvalue\\{0,3}["']?[ ]{0,3}[:=][ ]{0,3}\\{0,3}["'])(?!\[redacted)[^"'\n\\]{1,1000}"""
    r"""(?=\\{0,3}["'],[ ]{0,3}\\{0,3}["']?\b(?:name|key)\\{0,3}["']?[ ]{0,3}[:=][ ]{0,3}\\{0,3}["']([\w.\-]{1,80}))""",
    re.IGNORECASE,
)
# YAML of Kubernetes and Compose.
_ENTRY = re.compile(
    r"""(\b(?:name|key): ["']?([\w.\-]{1,80})["']?\n[ \t]{1,40}value: ["']?)(?!\[redacted)[^"'\n]{1,4000}"""
)
_ENVIRONMENT = re.compile(r"""(\b(?:[sS]et[eE]nv|ENV) ([A-Za-z]\w{1,60}) ["']?)(?!\[redacted)[^\s"'=]{1,1000}""")
_AUTH_PAIR = re.compile(r"""(\b\w{0,20}auth ?= ?\((["'])[^"'\n]{1,100}\2, ["'])(?!\[redacted)[^"'\n]{1,200}""")
# A password with a slash or a number sign in it is taken for a port.
_PORT = re.compile(
    r"""(\b(?:cast to integer value as|nonnumeric port:|[Ii]nvalid port:?|netloc) ["'])(?!\[redacted)[^"'\n]{1,300}"""
)
_ANNOTATED = re.compile(
    r"""((?<![\w.])([\w.]{1,80}): [A-Za-z][\w.\[\], |]{0,40} = b?["'])(?!\[redacted)[^"'\n]{1,4000}"""
)
_ELEMENT = re.compile(r"(<(?:\w{1,20}:)?([\w.\-]{1,80}) [^<>\n]{1,300}[^</]>)(?!\[redacted)[^<]{1,4000}")
_PART = re.compile(
    r"""(form-data; name="?([^"\s\\;]{1,80})"?(?:(?:\r?\n|\\r\\n)Content-[\w\-]{1,30}: [^\n\\]{1,100}){0,3}"""
    r"""(?:\r?\n|\\r\\n){2})(?!\[redacted)[^\n\\]{1,4000}"""
)
_JWK = re.compile(r"""((["'])(?:d|k|p|q|dp|dq|qi)\2\s{0,3}:\s{0,3}\2)[^"'\[]{1,4000}""")
_IN_CLASS = re.compile(r"""(\b([A-Z]\w{1,40})\((?:key|value|data|raw)=b?["'])(?!\[redacted)[^"'\n]{1,4000}""")
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

    def of_field(match: Match[str]) -> str:
        return f"{match[1]}{REDACTED}" if degree_of(match[3]) >= WORD else match[0]

    def of_input(match: Match[str]) -> str:
        name = _NAME_OF_INPUT.search(match[0])
        if name is None or degree_of(name[1]) < WORD:
            return match[0]
        return _VALUE_OF_INPUT.sub(rf'\g<1>"{REDACTED}"', match[0])

    text = without_options(text)
    if "<input" in lowered:
        text = _INPUT.sub(of_input, text)
    if "&quot;" in text or "&#" in text or "\\u00" in text:
        text = _ESCAPED_EQUALS.sub(named, _ESCAPED_PAIR.sub(named, text))
    for sign, pattern in _BY_NAME:
        if sign in text:
            text = pattern.sub(named, text)
    if "auth" in text and "=" in text:
        text = _AUTH_PAIR.sub(rf"\g<1>{REDACTED}", text)
    if " port" in text or "integer value" in text or "netloc" in text:
        text = _PORT.sub(rf"\g<1>{REDACTED}", text)
    if '"kty"' in text or "'kty'" in text:
        text = _JWK.sub(rf"\g<1>{REDACTED}", text)
    if "input_value=" in text:
        text = _INPUT_VALUE.sub(rf"\g<1>{REDACTED}", text)
    if " for " in text:
        text = _OF_FIELD.sub(of_field, text)
    if "Secret" in text:
        text = _SECRET_TYPE.sub(rf"\g<1>\g<2>{REDACTED}", text)
    if any(sign in lowered for sign in _SIGNS):
        for pattern in _SAID_SO:
            text = pattern.sub(rf"\g<1>{REDACTED}", text)
        text = _CALL.sub(rf"\g<1>\g<2>{REDACTED}", text)
    return text


_SIGNS = ("code ", "pass", "pin ", "otp ", "token ", "key ", "secret ", "session ", "_token(", "_pin(", "_otp(")
_SAID_SO = (_SAID, _NAMED_WORD, _NAMED_KEY, _SESSION, _QUOTED_TOKEN)
_BY_NAME = (
    ("value", _FIELDS), ("VALUE", _FIELDS), ("Value", _FIELDS), ("value", _VALUE_FIRST), ("value: ", _ENTRY),
    ("etenv ", _ENVIRONMENT), ("etEnv ", _ENVIRONMENT), ("ENV ", _ENVIRONMENT), (" = ", _ANNOTATED), ("</", _ELEMENT),
    ("form-data", _PART), ("(key=", _IN_CLASS), ("(value=", _IN_CLASS), ("(data=", _IN_CLASS), ("(raw=", _IN_CLASS),
)  # fmt: skip
