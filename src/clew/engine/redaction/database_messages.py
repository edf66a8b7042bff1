"""Values in the messages of databases: what is wrong stays (constraint, column, table), whose values it was goes.

PostgreSQL quotes the statement's line and the key, MySQL the entry, SQLAlchemy statement and parameters.
"""

from __future__ import annotations

import re
from re import Match

from clew.engine.redaction.secret_shapes import REDACTED
from clew.engine.redaction.text_scan import end_of_line, find, first, replaced_after

_CLASSES = re.compile(
    r"IntegrityError|DataError|ProgrammingError|OperationalError|DatabaseError|InternalError|NotSupportedError"
    r"|UniqueViolation|NotNullViolation|CheckViolation|ForeignKeyViolation|ExclusionViolation|InvalidTextRepr"
)
_WHOLE_LINE = re.compile(
    r"(?<![A-Za-z])(?:LINE \d{1,5}|QUERY|STATEMENT|CONTEXT|Failing row contains(?= \()|\[SQL|\[parameters"
    r"|bind (?:values|variables)|failed at position \d{1,9}(?= \()|params=(?=[(\[{]))(?:(?<==)|:| (?=\()) ?"
)
# A statement within a text: its literals are values, whatever their column is called.
_STATEMENT = re.compile(
    r"\bINSERT INTO |\bREPLACE INTO |\bUPDATE \S{1,80} SET |\bDELETE FROM |\bSELECT [^\n]{1,300}? FROM |\bVALUES \("
    r"|\bIDENTIFIED BY |\bPASSWORD ?\(|\bPARAMS = "
)
_SIGNS = ("INTO ", " SET ", "FROM ", "VALUES ", "IDENTIFIED ", "PASSWORD", "PARAMS ")
_LITERAL = re.compile(r"""(?<![\w\]])'(?!\[redacted\]')(?:[^'\n]|''){1,1000}'""")
_ARGUMENTS = re.compile(r"((?:; args=|\bPARAMS = )(?=[(\[{]))(?:[^\n;]|;(?! alias=)){1,4000}")
_KEY = re.compile(r"(?:Key|key) \(")
_MAX_VALUE = 1000
_QUOTED = re.compile(r"""([\w.]{0,30})([:=]? |[:=]|@)(["'])""")
# What is quoted behind these is a name.
_STRUCTURE = {
    "at", "attribute", "class", "clause", "collation", "column", "constraint", "cursor", "database", "engine", "enum",
    "extension", "field", "file", "for", "from", "function", "host", "in", "index", "key", "module", "named", "of",
    "on", "operator", "parameter", "property", "relation", "role", "rule", "schema", "sequence", "server", "socket",
    "table", "tablespace", "to", "trigger", "type", "user", "view",
}  # fmt: skip
_KEYWORDS = {
    "and", "as", "by", "end", "from", "group", "having", "in", "insert", "into", "is", "join", "limit", "not", "null",
    "on", "or", "order", "returning", "select", "set", "table", "union", "update", "values", "where",
}  # fmt: skip
# MySQL does not escape what it quotes in these: it ends with the line's last quote that is followed so.
_UNESCAPED = {"entry": "' for key", "near": "' at line", "value": "' for column"}


def is_of_database(text: str) -> bool:
    """Whether it looks like a database's message."""
    return (
        "uplicate " in text
        or "violates " in text
        or "SQL" in text
        or "Violation" in text
        or "out of range" in text
        or "ncorrect " in text
        or "ORA-" in text
        or ("Error" in text and _CLASSES.search(text) is not None)
        or (":" in text and _has_label(text))
    )


def has_statement(text: str) -> bool:
    """Whether a statement stands in it."""
    return any(sign in text for sign in _SIGNS) and _STATEMENT.search(text) is not None


def without_literals(text: str) -> str:
    """A text with a statement in it, without strings and arguments."""
    return _ARGUMENTS.sub(rf"\g<1>{REDACTED}", _LITERAL.sub(rf"'{REDACTED}'", text))


def _has_label(text: str) -> bool:
    return (
        "DETAIL:" in text
        or "CONTEXT:  " in text
        or "LINE 1:" in text
        or "[parameters:" in text
        or "invalid input" in text
        or "QUERY:" in text
        or "STATEMENT:" in text
    )


def without_values(text: str) -> str:
    """A database's message without values."""
    return _without_quoted(_without_keys(_without_lines(text)))


def _without_lines(text: str) -> str:
    return replaced_after(_WHOLE_LINE, text, lambda found, match: end_of_line(found, match.end()), REDACTED)


def _without_keys(text: str) -> str:
    """`Key (email)=(a@b.c) already exists.`, `The duplicate key value is (a@b.c).`"""
    text = _replaced_to_last(text, "duplicate key value is (", ")")
    parts, last = [], 0
    match = first(_KEY, text, 0)
    while match is not None:
        end = end_of_line(text, match.end())
        start = find(text, ")=(", match.end(), end)
        if start >= 0:
            close = text.rfind(")", start + 3, end)
            parts += [text[last : start + 3], REDACTED]
            last = end if close < 0 else close
        match = first(_KEY, text, end)
    return "".join([*parts, text[last:]])


def _replaced_to_last(text: str, opening: str, closing: str) -> str:
    at = find(text, opening, 0)
    if at < 0:
        return text
    end = end_of_line(text, at)
    close = text.rfind(closing, at + len(opening), end)
    return text[: at + len(opening)] + REDACTED + text[end if close < 0 else close :]


def _without_quoted(text: str) -> str:
    parts, last, end = [], 0, -1
    match = first(_QUOTED, text, 0)
    while match is not None:
        at, word, lead = match.end(), match[1].lower(), match[2]
        if not word and lead != "@":
            # The quotes of a repr: what stands in them is looked at by itself.
            match = first(_QUOTED, text, at)
            continue
        end = end_of_line(text, at) if at > end else end
        close = _close(text, at, end, match)
        if lead != "@" and word not in _STRUCTURE and text[at:close].lower() not in _KEYWORDS and close > at + 1:
            parts += [text[last:at], REDACTED]
            last = close
        match = first(_QUOTED, text, close + 1)
    return "".join([*parts, text[last:]])


def _close(text: str, at: int, end: int, opening: Match[str]) -> int:
    behind = _UNESCAPED.get(opening[1].lower()) if opening[3] == "'" else None
    if behind is not None:
        close = text.rfind(behind, at, min(end, at + _MAX_VALUE))
        if close >= 0:
            return close
    close = find(text, opening[3], at, end)
    while close >= 0 and text[close + 1 : close + 2].isalnum():
        close = find(text, opening[3], close + 1, end)
    return end if close < 0 else close
