"""Pairs of a name and a value in any notation: `a=b`, `"a": "b"`, `a => b`, `a%3Db`, `<a>b</a>`, `('a', 'b')`.

The separator is looked for first and the name before it second, so text of any kind costs a bounded number of steps for
each of its characters.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from re import Match
from typing import NamedTuple

from clew.engine.redaction.secret_names import ALWAYS, IN_QUERY, NONE, ONLY_RANDOM, WORD, is_count
from clew.engine.redaction.secret_shapes import REDACTED
from clew.engine.redaction.secret_values import below_end, folded_end, header_end, tag_end, value_end
from clew.engine.redaction.text_scan import first, here

_SEPARATOR = re.compile(
    r"""(?:[=\-]>|!={1,2}|:?={1,3}|::(?=[ \t])|[:\uff1a\uff1d]|%(?:25){0,3}3[aAdD]|(?<=["']),|(?<=\w)>)[ \t]{0,8}"""
    r"""(?:\r?\n\s{0,40}(?=["'{\[]))?"""
)
_MAX_NAME = 80
# Read backwards from the separator: what closes the name, the name, what opens it.
_BEFORE = re.compile(
    r"""[ \t]{0,3}(["'\\\])*`]{0,8})([\w.\-%\[$]{1,80})(?::\w{1,20}(?=<))?([\\"'*`]{0,8}[bBuU]?)(.?)(.?)""", re.DOTALL
)
_WORDS_BEFORE = re.compile(r"[ \t]{0,3}[\w\-]{1,20} ([\w\-]{2,30}(?: [\w\-]{2,30})?)")
# Words that follow a secret's name: `API key: ...`, `password provided: ...`.
_TAILS = {
    "code", "falsch", "given", "id", "incorrecta", "incorreta", "is", "key", "number", "passe", "provided", "received",
    "string", "supplied", "used", "value", "was",
}  # fmt: skip  # fmt: skip
_MORE_COOKIES = re.compile(r"(?:; ?[^\s;,)}\]\"']{1,4096}){0,50}")
_TRIVIAL = re.compile(
    r"""(?:%s|%\(\w{1,80}\)s|\?|\$\d{1,3}|:[a-z_]{1,40}|none|null|true|false|yes|no|nan|undefined|str|bytes|int|bool|any|\*{2,80}|\[redacted\]|''(?!')|""(?!")|\(\)|\[\]|\{\}"""
    r"""|optional\[\w{1,20}\])(?:[\s,;&)\]}>"'|.\\]|\Z)""",
    re.IGNORECASE,
)
# How a sentence goes on behind `password: `.
_SENTENCE = re.compile(
    r"(?:an?|cannot|could|does|ensure|enter|expected|expired|failed|field|has|incorrect|invalid|is|it|may|missing|must|no"
    r"|not|please|required|should|the|this|too|unable|unexpected|unknown|wrong|you|your)[.,]?(?:\s|\Z)",
    re.IGNORECASE,
)
_FORM_ERROR = re.compile(
    r"""\[["'](?:An?|Ensure|Enter|Invalid|Must|Please|The|This|Your) [a-z][^"'\n]{3,200}[.!]["']"""
)
_PROSE = re.compile(r"[a-z]{1,30}[.,;:]?(?:\s|\Z)|\d{1,3}(?:[\s,.]|\Z)|[(<\[]")
# An exception's class, and how its message begins.
_FAULT = re.compile(
    r"(?:\w{1,40}\.){0,8}(?:(?:Bad|Expired|Incorrect|Invalid|Missing|Revoked|Unknown|Wrong)[A-Z]|(?:BAD|EXPIRED|INVALID|MISSING)_)\w"
)
_SAYS = re.compile(r"[A-Za-z']{1,30}[.,:]?(?:\s|\Z)|[(\[{]")
_CODE = re.compile(
    r"""(?:[a-z_]\w{0,40}\.){1,6}(?:decode|encode|get|getenv|getlist|pop|read|strip)\((?:["'][\w.\-]{0,60}["'])?\)"""
    r"""|[fF](["'])[A-Za-z]{0,20} ?\{[A-Za-z_][\w.]{0,60}\}\1"""
)
_SHORT_NUMBER = re.compile(r"\d{1,3}(?:[^\w\-]|\Z)")
RANDOM = re.compile(r"""["']?(?=[^\d\s]{0,60}\d)(?=[^A-Za-z\s]{0,60}[A-Za-z])[\w\-./+=]{16}""")
_FORM = "QueryDict: {"
_KEY_OF_YAML = re.compile(r"""[ \t]{0,80}(?:- )?["']?[\w.\-]{1,80}["']?\Z""")


_HEADERS = ("authorization", "cookie", "-signature", "-cert", "-token")


class _Name(NamedTuple):
    """What stands before a separator: how secret it is, how it is quoted, what it follows."""

    degree: int
    text: str
    is_quoted: bool
    enclosing: str
    previous: str


def without_pairs(text: str, degree_of: Callable[[str], int]) -> str:
    """The text without the values of secret names.

    Args:
        text: any text.
        degree_of: how secret a name is (`secret_names`).
    """
    parts, last = [], 0
    is_form = _FORM in text
    match = first(_SEPARATOR, text, 0)
    while match is not None:
        start = end = match.end()
        name = _name_before(text, match.start(), last, degree_of)
        if name is not None and not _is_harmless(text, match, name, is_form=is_form):
            end = _end(text, match, name)
        if end > start:
            parts += [text[last:start], REDACTED]
            last = end
        match = first(_SEPARATOR, text, end)
    return "".join([*parts, text[last:]]) if parts else text


def _name_before(text: str, at: int, last: int, degree_of: Callable[[str], int]) -> _Name | None:
    """The name that ends there, if it is secret at all; what has been taken for a value is not looked at."""
    backwards = text[max(last, at - _MAX_NAME - 24) : at][::-1]
    found = here(_BEFORE, backwards, 0)
    if found is None:
        return None
    name = found[2][::-1]
    degree = degree_of(name)
    if degree < WORD and name.lower() in _TAILS and not found[1]:
        before = here(_WORDS_BEFORE, backwards, 0)
        joined = degree_of(f"{before[1][::-1]}_{name}" if before is not None else name)
        degree = joined if joined == ALWAYS else degree
    if degree == NONE:
        return None
    opening = found[3]
    is_quoted = found[1][-1:] in ("'", '"') and opening[:1] == found[1][-1:]
    enclosing = "" if is_quoted else opening.strip("bBuU\\")[:1]
    return _Name(degree, name, is_quoted, enclosing, found[4] + found[5])


def _is_harmless(text: str, match: Match[str], name: _Name, *, is_form: bool) -> bool:
    """Whether what follows is no value of this name: `password=None`, `Token: expected`, `/api/token: 404`, ..."""
    mark, at = match[0].strip(), match.end()
    if "\n" in match[0] and not name.is_quoted:
        return True  # only JSON goes on in the next line
    own = name.text.rpartition(".")[2]
    if mark in ("=", "==", "!=") and text.startswith(own, at) and not text[at + len(own) :][:1].isalnum():
        return True  # a keyword argument in a line of code
    if here(_CODE, text, at) or text.startswith("nexpected token:", match.start() - 15):
        return True
    if here(_TRIVIAL, text, at) or here(_FORM_ERROR, text, at) or is_count(name.text, text[at : at + 24]):
        return True
    if mark == ",":
        is_first = name.previous[:1] == "(" or name.previous in ("[[", "[,") or name.text.startswith("--")
        is_pair = name.is_quoted and is_first
        return not is_pair or text[at : at + 1] not in ("'", '"', "b")
    if mark == ">":
        # A route's `<token>/` and a usage's `<password> [options]` hold nothing.
        is_tag = name.previous[:1] == "<" and not name.previous[1:].isalnum() and name.previous[1:] != "/"
        return not is_tag or match[0] != mark or text.startswith("/", at)
    if mark == ":" and not name.is_quoted:
        is_arn = name.previous[:1] == ":" and name.previous[1:].isdigit()
        if is_arn or name.previous[:1] == "/" or text.startswith(("//", ":"), at):
            return True
        if here(_FAULT, name.text, 0) and here(_SAYS, text, at):
            return True
        if match[0] != mark and (here(_SENTENCE, text, at) or _is_prose(text, at, name)):
            return True
    return name.degree == IN_QUERY and not _is_of_query(text, match, name, is_form=is_form)


def _is_prose(text: str, at: int, name: _Name) -> bool:
    """Whether it is a sentence about a thing called so: `GPIO pin: 17`."""
    follows_word = name.previous[:1] == " " and name.previous[1:].isalnum()
    return name.degree == WORD and follows_word and here(_PROSE, text, at) is not None


def _is_of_query(text: str, match: Match[str], name: _Name, *, is_form: bool) -> bool:
    if here(_SHORT_NUMBER, text, match.end()):
        return False
    if match[0].startswith("="):
        if name.text in ONLY_RANDOM:
            return here(RANDOM, text, match.end()) is not None
        if name.text == "auth" and text.startswith("(", match.end()):
            return True
        return name.previous[:1] in ("?", "&") or here(RANDOM, text, match.end()) is not None
    if match[0].startswith("%"):
        return "%" in name.text
    return name.is_quoted and (is_form or here(RANDOM, text, match.end()) is not None)


def _end(text: str, match: Match[str], name: _Name) -> int:
    start, mark = match.end(), match[0].strip()
    if mark == ">":
        return tag_end(text, start)
    is_header = not name.is_quoted and name.text.lower().endswith(_HEADERS)
    if mark == ":" and text.startswith(("\n", "\r\n"), start):
        return folded_end(text, start) if is_header else _end_below(text, match.start(), start)
    if is_header and mark == ":" and text[start : start + 1] not in ("'", '"', "[", "{", "("):
        return header_end(text, start, name.enclosing)
    end = value_end(text, start)
    if is_header and (more := here(_MORE_COOKIES, text, end)):
        end = more.end()
    return end


def _end_below(text: str, at: int, start: int) -> int:
    line = max(text.rfind("\n", max(0, at - 2 * _MAX_NAME), at) + 1, at - 2 * _MAX_NAME, 0)
    key = here(_KEY_OF_YAML, text[line:at], 0)
    return start if key is None else below_end(text, start, len(key[0]) - len(key[0].lstrip(" \t")))
