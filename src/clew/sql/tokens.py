"""A SQL text without its literals and comments, and its shape: what stays when the values are gone.

Which database reads the text is not known here, and they disagree on where a literal ends: a backslash before a quote
escapes it for MySQL and is a character for the others; comments nest in PostgreSQL only; `--x` is no comment for MySQL,
`#` is one for MySQL only. Where two readings part and one of them has the rest inside a literal, the rest is dropped.
So is what follows an unterminated literal or comment. Patterns are linear: a text costs no more than its length.
"""

from __future__ import annotations

import re

MAX_READ = 20_000

_LINE_END = r"(?=\r?\n|\Z)"
_REST = r"[\s\S]*"
# Their last alternative takes the rest, so they never fail and never backtrack.
_SINGLE_QUOTED = rf"'(?:[^'\\]+|''|\\[^'])*(?:'|{_REST})"
_DOUBLE_QUOTED = rf'"(?:[^"\\]+|""|\\[^"])*(?:"|{_REST})'
_DOLLAR_QUOTED = rf"(?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$(?:{_REST}?\$(?P=tag)\$|{_REST})"
_ORACLE_QUOTED = (
    r"(?<![\w$])[nN]?[qQ]'"
    rf"(?:(?:\[[^']*\]|\([^']*\)|\{{[^']*\}}|<[^']*>|(?P<delimiter>[^\w\s'\[({{<])[^']*(?P=delimiter))'(?!')|{_REST})"
)
# `[it's]` is a name for SQL Server; anyone else sees a literal begin.
_QUOTE_IN_BRACKETS = rf"(?<![\w\])])\[[^\W\d][^\[\]'\"`]*['\"`]{_REST}"
_PREFIX = r"(?:(?<![\w$])(?:[eEnNxXbB]|[uU]&))?"
_NUMBER = r"(?<![\w$?@])\.?\d[\w.]*(?:(?<=[eE])[+-]\d+)?"
_NAME = r'"[^"\\]*"(?:\.?"[^"\\]*")*|`[^`]*`(?:\.?`[^`]*`)*|(?<![\w\])])\[[^\W\d][\w $.]*\]'
_LINE_COMMENT = rf"--(?:[ \t][^\r\n]*|[^\r\n'\"`/$]*){_LINE_END}|--{_REST}"
_BLOCK_COMMENT = (
    # `/*! ... */` is code for MySQL, where a literal may hold the end of the comment.
    r"/\*(?:M?!(?:[^*/'\"`]+|\*(?!/)|/(?!\*))*|(?!M?!)(?:[^*/]+|\*(?!/)|/(?!\*))*)"
    rf"(?:\*/|{_REST})"
)
# Not PostgreSQL's JSON operators. Its rarer `a # b` is taken for a comment: that loses text, the reverse may leak.
_HASH_COMMENT = r"#(?!(?:>>?|-)\s*(?:'[^'\\\r\n]*'|[%?$:(]|(?i:ARRAY)))" rf"(?:[^\r\n'\"`/$]*{_LINE_END}|{_REST})"


def _literals(lone_backslash: str, comments: str) -> re.Pattern[str]:
    strings = f"{lone_backslash}|{_PREFIX}{_SINGLE_QUOTED}|{_DOUBLE_QUOTED}|`{_REST}|{_DOLLAR_QUOTED}|{_ORACLE_QUOTED}"
    return re.compile(
        rf"(?P<name>{_NAME})|(?P<comment>{comments})|(?P<number>{_NUMBER})|(?P<string>{strings}|{_QUOTE_IN_BRACKETS})"
    )


# `LIKE ... ESCAPE '\'` has one reading: MySQL refuses it. Django writes it for SQLite and Oracle, there elsewhere too.
_IN_RAW = _literals(r"(?<=(?i:ESCAPE) )'\\'(?!')", f"{_LINE_COMMENT}|{_BLOCK_COMMENT}|{_HASH_COMMENT}")
_IN_ORM = _literals(r"'\\'(?!')", f"{_LINE_COMMENT}|{_BLOCK_COMMENT}")

_OPERAND_FOLLOWS = "AND|BETWEEN|BY|CASE|DEFAULT|ELSE|LIKE|LIMIT|NOT|OFFSET|OR|SELECT|THEN|WHEN"
_SIGN = re.compile(rf"([=<>(,*/|]\s*|\b(?:{_OPERAND_FOLLOWS})\s+)[-+]\?", re.IGNORECASE)
# It begins with a plain set of characters, which the regex engine looks for quickly.
_NUMBER_OR_PLACEHOLDER = re.compile(
    r"[0-9%$:?@](?:(?<=[0-9])(?<![\w$?@\"`][0-9])[\w.]*(?:(?<=[eE])[+-]\d+)?"
    r"|(?<=%)(?:[sbt](?!\w)|\(\w+\)s)|(?<=[$?])\d+|(?<=:)(?<!::)[^\W\d]\w*|(?<=@)p\d+)"
)
_VALUE = r"(?:\?(?:::\w+)?|NULL)"
_MEMBER = rf"(?:{_VALUE}|\( ?{_VALUE}(?: ?, ?{_VALUE})* ?\))"
_IN_LIST = re.compile(rf"([iI](?<!\w[iI])[nN]) ?\( ?{_MEMBER}(?: ?, ?{_MEMBER})* ?(?:\)|,? ?\Z)")
_ROW = r"\([^()]*(?:\([^()]*(?:\([^()]*\)[^()]*)*\)[^()]*)*\)"
_ROWS = re.compile(rf"([vV](?<!\w[vV])(?i:ALUES?)) ?(?:(?i:ROW) ?)?{_ROW}(?: ?, ?(?:(?i:ROW) ?)?{_ROW})*")

# What MySQL takes for a string, where a value is expected; a name there has its table's before or behind it.
_COMPARED = re.compile(
    r"((?:[=<>]|\b(?:LIKE|REGEXP|RLIKE|BETWEEN|THEN|ELSE|IDENTIFIED BY|PASSWORD))\s{0,8}\(?)"
    r'"[^"]{0,8000}"(?!\s?\.)',
    re.IGNORECASE,
)
_BETWEEN = re.compile(r'(\bBETWEEN \S{1,200} AND )"[^"]{0,8000}"(?!\s?\.)', re.IGNORECASE)
_LISTED = re.compile(
    rf"\b(?:IN|VALUES?|PASSWORD|MD5|SHA[12]?|AES_\w{{1,20}})\s?(?!\(\s?(?:SELECT|WITH)\b){_ROW}(?:\s?,\s?{_ROW})*",
    re.IGNORECASE,
)
_QUOTED = re.compile(r'"[^"]{0,8000}"(?!\s?\.)')
_WORD = r"(?:\"[^\"]*\"|`[^`]*`|\[[^\[\]]*\]|[^\W\d][\w$]*)"
_TOKEN = re.compile(rf"{_WORD}(?: ?\. ?{_WORD})*|[(),;]")


def sanitized(sql: str, *, are_numbers_kept: bool) -> str:
    """A text somebody wrote, without comments and with `?` for its literals.

    Args:
        sql: the text.
        are_numbers_kept: only strings are taken for values; where there are parameters, numbers are the query's own.
    """
    text = _IN_RAW.sub(_without_strings if are_numbers_kept else _without_literals, sql)
    if '"' in text:
        text = _LISTED.sub(_without_quoted, _BETWEEN.sub(r"\1?", _COMPARED.sub(r"\1?", text)))
    return (text if are_numbers_kept else _without_signs(text)).strip()


def without_strings(sql: str) -> str:
    """A text Django's ORM wrote, without strings and comments; most have none."""
    if "'" in sql or "--" in sql or "/*" in sql:
        return _IN_ORM.sub(_without_strings, sql)
    return sql


def recordable(sql: str) -> str:
    """A text Django's ORM wrote, without strings that may be a site's own (`extra`, `RawSQL`); `'%%'` is none."""
    return _IN_ORM.sub(_without_words, sql) if "'" in sql else sql


def normalized(sql: str) -> str:
    """The fingerprint of a text that has no strings and comments anymore.

    The same for texts that differ in values, in placeholders, in whitespace, in the length of `IN (...)` and in the
    number of rows after `VALUES`.
    """
    text = _without_signs(_NUMBER_OR_PLACEHOLDER.sub("?", " ".join(sql.split())))
    if "(?" in text or "( ?" in text or "NULL" in text:
        text = _IN_LIST.sub(r"\1 (...)", text)
    if "ALUE" in text or "alue" in text:
        text = _ROWS.sub(r"\1 (...)", text)
    return text.strip("; ")


def tokens(fingerprint: str) -> list[str]:
    """The words, names (`"schema"."table"` is one), parentheses, commas and semicolons; everything else is left out."""
    return _TOKEN.findall(fingerprint)


def unquoted(name: str) -> str:
    """A name as the database knows it: `"schema" . "table"` is schema.table."""
    if name[0] in '"`[' or "." in name:
        return name.translate(_QUOTES).replace(" .", ".").replace(". ", ".")
    return name


_QUOTES = str.maketrans("", "", '"`[]')


def _without_signs(text: str) -> str:
    return _SIGN.sub(r"\1?", text) if "-?" in text or "+?" in text else text


def _without_quoted(match: re.Match[str]) -> str:
    return _QUOTED.sub("?", match[0])


def _without_literals(match: re.Match[str]) -> str:
    kind = match.lastgroup
    return match[0] if kind == "name" else " " if kind == "comment" else "?"


def _without_strings(match: re.Match[str]) -> str:
    kind = match.lastgroup
    return "?" if kind == "string" else " " if kind == "comment" else match[0]


def _without_words(match: re.Match[str]) -> str:
    has_content = match.lastgroup == "string" and any(map(str.isalnum, match[0].replace("E'", "'")))
    return "?" if has_content else match[0]
