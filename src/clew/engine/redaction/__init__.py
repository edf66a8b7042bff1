"""What must not leave the process: values under secret names, and secrets inside text.

Applied where something is recorded (messages, query strings, headers), and by processors/redact.py to the spans of
others. Linear: a hostile string costs no more than its length (see text_scan).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Mapping
from re import Match
from typing import Any

from clew.engine.redaction import command_lines, database_messages
from clew.engine.redaction.secret_names import ALWAYS, IN_QUERY, ONLY_RANDOM, WORD, SecretNames
from clew.engine.redaction.secret_pairs import RANDOM, without_pairs
from clew.engine.redaction.secret_phrases import without_phrases
from clew.engine.redaction.secret_protocols import without_credentials
from clew.engine.redaction.secret_shapes import REDACTED, without_shapes

__all__ = ["MAX_TEXT", "REDACTED", "CleanAttributes", "Redactor", "configure", "redactor"]

MAX_TEXT = 65_536


class CleanAttributes(dict[str, Any]):
    """Attributes whose values have been redacted."""


# Below this a parameter's value is no key that is known by its look.
_MAX_PLAIN = 20
# JSON may write any letter so, in a name too.
_ESCAPED_NAME = re.compile(r"""["'][\w.\-\\]{2,160}["'](?=\s{0,5}:)""")
_ESCAPED_LETTER = re.compile(r"\\{1,8}(?:u00|x)(3[0-9]|[46][1-9A-Fa-f]|5[0-9AaFf]|7[0-9Aa])")
_OPTION = re.compile(
    r"""(?<![\w-])(--[A-Za-z][\w\-]{1,40})([ ]{1,3})(?!-)(?:"[^"\n]{1,1000}"|'[^'\n]{1,1000}'|[^\s"',)]+)"""
)
_SPOKEN = re.compile(
    r"""\b(pass(?:word|phrase|code|wd|wort)|kennwort|mot de passe|contraseña|senha|пароль|(?:api|secret) key) """
    r"""((?:(?:to|from|is|was) |changed from )?["'`«„])(?!\[redacted)[^"'`»“\n]{1,200}(?=["'`»“])""",
    re.IGNORECASE,
)
_CHANGED = re.compile(r"""(\[redacted\]["'`] to (["'`]))(?!\[redacted)[^"'`\n]{1,200}(?=\2)""")
_HELD = (
    ("Secret", re.compile(r"""\bkind["']?: ?["']?Secret\b"""), "data"),
    ("loc", re.compile(r"""["']loc["']: ?[\[(]"""), "input"),
)
_OF_PAIRS = ("=", ":", "%", ">", "',", '",')
_MAX_SHORT = 256
_MAX_REMEMBERED = 2048
_MAX_WORDS = 128
# As an attribute, a header of a request whose items are told apart by what stands among them.
_SUBPROTOCOLS = ("websocket_protocol", "websocket-protocol")
# Of what stands in a log record's body.
_MAX_DEPTH = 6
# Celery puts a task's arguments into the message of its MaxRetriesExceededError.
_RETRIED = "Can't retry "
_ARGUMENTS = re.compile(r"(Can't retry [^\n\[]{1,300}\[[^\n\]]{0,300}\]) args:[^\n]*")


class Redactor:
    """Redacts by name and by pattern.

    Args:
        more_names: further names whose values are secrets.
    """

    def __init__(self, more_names: tuple[str, ...] = ()) -> None:
        self._degree = SecretNames(more_names).degree
        # Names, routes, hosts, messages: what is short is mostly said again and again.
        self._remembered = functools.lru_cache(maxsize=_MAX_REMEMBERED)(self._text)

    def is_secret_name(self, name: str) -> bool:
        """Whether a value under this name (an attribute, a header, a parameter) must not be recorded."""
        return self._degree(name) >= WORD

    def is_secret_argument(self, name: str, value: str) -> bool:
        """Whether a route's argument must not be recorded: `token`, or a `ping_key` that looks like chance."""
        if self._degree(name) >= WORD:
            return True
        is_key = name.rpartition("_")[2] == "key" or self._degree(name) >= IN_QUERY
        return is_key and RANDOM.match(value) is not None

    def text(self, text: str) -> str:
        """The text without values under secret names, credentials in URLs, keys, and values in database errors."""
        return self._remembered(text) if len(text) <= _MAX_SHORT else self._text(text[:MAX_TEXT])

    def _text(self, text: str) -> str:
        if "\\u00" in text or "\\x" in text:
            text = _ESCAPED_NAME.sub(_unescaped, text)
        lowered = text.lower()
        if _RETRIED in text:
            text = _ARGUMENTS.sub(rf"\g<1> args:{REDACTED} kwargs:{REDACTED}", text)
        text = without_shapes(text, lowered)
        if database_messages.has_statement(text):
            text = database_messages.without_literals(text)
        if database_messages.is_of_database(text):
            text = database_messages.without_values(text)
        if (
            "=" in text
            or ":" in text
            or "%" in text
            or ">" in text
            or "'," in text
            or '",' in text
            or not text.isascii()
        ):
            text = without_pairs(text, self._degree_within(text))
        text = without_credentials(text, lowered, self._degree)
        text = without_phrases(text, lowered, self._degree)
        if "--" in text:
            text = _OPTION.sub(self._option, text)
        if "pass" in lowered or " key " in lowered or not text.isascii():
            text = _CHANGED.sub(rf"\g<1>{REDACTED}", _SPOKEN.sub(rf"\g<1> \g<2>{REDACTED}", text))
        return text

    def _degree_within(self, text: str) -> Callable[[str], int]:
        """How secret names are there: all of a Kubernetes secret, and what a validator says it was given."""
        held = [name for sign, pattern, name in _HELD if sign in text and pattern.search(text)]
        return (lambda name: ALWAYS if name in held else self._degree(name)) if held else self._degree

    def query(self, query: str) -> str:
        """A query string with the values of secret parameters replaced."""
        if not query:
            return query
        parts = query[:MAX_TEXT].split("&")
        for at, part in enumerate(parts):
            name, sep, value = part.partition("=")
            if value and self._degree(name) >= IN_QUERY and (name not in ONLY_RANDOM or RANDOM.match(value)):
                parts[at] = f"{name}={REDACTED}"
            elif len(part) > _MAX_PLAIN or "=" in value or "%" in part or ":" in part:
                # A value may be a URL, JSON or a query string itself.
                parts[at] = name + sep + self.text(value) if sep else self.text(part)
        return "&".join(parts)

    def attribute(self, name: str, value: Any) -> Any:
        """The value of an attribute or a log record's body, of lists and mappings too; others as they are."""
        if type(name) is not str:
            name = ""
        if name.endswith(_SUBPROTOCOLS):
            items = [value] if isinstance(value, str) else value if isinstance(value, tuple | list) else []
            held = ", ".join(item for item in items if isinstance(item, str))
            return REDACTED if REDACTED in self.text(f"sec-websocket-protocol: {held}") else value
        if isinstance(value, str):
            if self.is_secret_name(name):
                return REDACTED
            if value.isalnum():
                return value
            return self.query(value) if name == "url.query" else self.text(value)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, int | float):
            is_open = name.endswith("tokens") or not self.is_secret_name(name)
            return value if is_open else REDACTED
        return self._within(name, value, _MAX_DEPTH)

    def attributes(self, attributes: Mapping[str, Any]) -> dict[str, Any]:
        """What of them is a secret, by its name: what it is to be instead."""
        if type(attributes) is CleanAttributes:
            return {}
        cleaned = {name: self.attribute(name, value) for name, value in attributes.items()}
        return {name: value for name, value in cleaned.items() if value is not attributes[name]}

    def _within(self, name: str, value: Any, depth: int) -> Any:
        if self.is_secret_name(name) or not depth:
            return REDACTED
        if isinstance(value, Mapping):
            return {key: self._item(str(key), each, depth) for key, each in value.items()}
        if isinstance(value, tuple | list):
            return self._items(value, depth)
        return self.attribute("", value.decode(errors="replace")) if isinstance(value, bytes) else value

    def _item(self, name: str, value: Any, depth: int) -> Any:
        if isinstance(value, Mapping | tuple | list):
            return self._within(name, value, depth - 1)
        return self.attribute(name, value)

    def _items(self, values: Any, depth: int) -> Any:
        """A list's items, and what follows an option of a command line; the same list where all are clean."""
        cleaned: list[Any] = []
        is_secret = False
        for value in values:
            cleaned.append(REDACTED if is_secret and isinstance(value, str) else self._item("", value, depth))
            is_secret = isinstance(value, str) and value.startswith("-") and self.is_secret_name(value)
        if 1 < len(values) <= _MAX_WORDS and all(type(value) is str for value in cleaned):
            cleaned[1:] = [command_lines.without_secret(cleaned, at) for at in range(1, len(cleaned))]
        return values if all(a is b for a, b in zip(values, cleaned, strict=True)) else tuple(cleaned)

    def _option(self, match: Match[str]) -> str:
        value = match[0][match.end(2) - match.start() :].rstrip("]")
        is_usage = value.isupper() and value.lower() in match[1].lower()
        return f"{match[1]}{match[2]}{REDACTED}" if self._degree(match[1]) >= WORD and not is_usage else match[0]


def _unescaped(match: Match[str]) -> str:
    return _ESCAPED_LETTER.sub(lambda letter: chr(int(letter[1], 16)), match[0])


redactor = Redactor()


def configure(more_names: tuple[str, ...]) -> None:
    """Make the process's redactor know these names too."""
    global redactor
    redactor = Redactor(more_names)
