"""What one SQL text says: what may be recorded of it, its shape, its operation and its tables.

A site has few texts and runs each often, so all is worked out once per text and looked up afterwards. Where a text
differs each time by something that is not the query's (a savepoint's name, a server-side cursor's, the comment of a SQL
commenter), it is looked up without that.
"""

from __future__ import annotations

import re
import threading
from typing import Any, TypeVar

from clew import span_names
from clew.sql.facts import Facts, facts
from clew.sql.tokens import MAX_READ, normalized, recordable, sanitized, without_strings

MAX_TEXT = 8192
MAX_KNOWN = 2000
MAX_NAME = 80

_T = TypeVar("_T")


class Statement(Facts):
    """What one SQL text says, besides what all texts of its fingerprint do.

    Attributes:
        text: what may be recorded as `db.query.text`.
        span_name: the operation and the first table.
        full_name: the summary, with as many tables as a list of spans has room for.
        trail: how the line was found that ran it last (see source/call_site.py).
        way: how it came to be run when its place was looked at last (see source/place.py).
    """

    __slots__ = ("full_name", "span_name", "text", "trail", "way")

    def __init__(self, text: str, found: Facts) -> None:
        super().__init__(*[getattr(found, each) for each in Facts.__slots__])
        self.text = text
        self.full_name = _short(found.summary) or "query"
        self.span_name = _short(span_names.of_query(found.operation, found.tables)) or self.full_name
        self.trail: Any = None
        self.way: Any = None


def _short(summary: str) -> str:
    if len(summary) <= MAX_NAME:
        return summary
    whole = summary[: MAX_NAME + 1].rpartition(" ")[0]
    return f"{whole or summary[:MAX_NAME]} ..."


# For callers that cannot afford the call: `KNOWN_FROM_ORM.get(sql)`, and `statement()` when that has nothing. They are
# never replaced, so `get` can be kept.
KNOWN_FROM_ORM: dict[str, Statement] = {}
KNOWN_WITH_PARAMETERS: dict[str, Statement] = {}
KNOWN_RAW: dict[str, Statement] = {}
_KNOWN = (KNOWN_FROM_ORM, KNOWN_WITH_PARAMETERS, KNOWN_RAW)
_known_facts: dict[str, Facts] = {}
_lock = threading.Lock()


def statement(sql: str, *, has_parameters: bool, is_from_orm: bool) -> Statement:
    """What the text says, from the cache if it has been seen.

    Args:
        sql: the text as it is given to the cursor.
        has_parameters: whether values are passed beside it; then numbers in it are the query's own.
        is_from_orm: whether Django's ORM compiled it; then numbers in it are the query's own.
    """
    known = KNOWN_FROM_ORM if is_from_orm else KNOWN_WITH_PARAMETERS if has_parameters else KNOWN_RAW
    found = known.get(sql)
    if found is None:
        same = _without_changing_parts(sql)
        found = known.get(same)
        if found is None:
            found = _read(same, has_parameters=has_parameters, is_from_orm=is_from_orm)
            if len(same) <= MAX_READ:
                found = _keep(same, found, known, _KNOWN)
    return found


def _read(sql: str, *, has_parameters: bool, is_from_orm: bool) -> Statement:
    read = sql[:MAX_READ]
    if is_from_orm:
        text, bare = recordable(read), without_strings(read)
    else:
        text = bare = sanitized(read, are_numbers_kept=has_parameters)
    if len(sql) > MAX_READ:
        text += "..."
    if len(text) > MAX_TEXT:
        text = text[: MAX_TEXT - 3] + "..."
    fingerprint = normalized(bare)
    found = _known_facts.get(fingerprint)
    if found is None:
        found = _keep(fingerprint, facts(fingerprint), _known_facts, (_known_facts,))
    return Statement(text, found)


def _keep(key: str, value: _T, known: dict[str, _T], all_known: tuple[dict[str, _T], ...]) -> _T:
    with _lock:
        if sum(map(len, all_known)) >= MAX_KNOWN:
            fullest = max(all_known, key=len)
            del fullest[next(iter(fullest))]
        return known.setdefault(key, value)


_SAVEPOINT = re.compile(
    r"\s*(SAVEPOINT|RELEASE(?:\s+SAVEPOINT)?|ROLLBACK\s+TO(?:\s+SAVEPOINT)?)\s+[\"`\[]?[\w$-]+[\"`\]]?[\s;]*\Z",
    re.IGNORECASE,
)
_CURSOR = re.compile(
    r"\s*DECLARE\s+(?:\"[^\"]*\"|[\w$]+)\s+(?:(?:BINARY|INSENSITIVE|ASENSITIVE|NO|SCROLL)\s+)*CURSOR\s+"
    r"(?:WITH(?:OUT)?\s+HOLD\s+)?FOR\s+",
    re.IGNORECASE,
)


def _without_changing_parts(sql: str) -> str:
    if sql.rstrip("; \n").endswith("*/") and (comment := sql.rfind("/*")) > 0:
        # Where it is no comment, text is lost; what comes before is read as it would have been.
        sql = sql[:comment].rstrip()
    first = sql[:1]
    if first in "SRsr \n" and (savepoint := _SAVEPOINT.match(sql)):
        return f"{' '.join(savepoint[1].upper().split())} ?"
    if first in "Dd \n" and (cursor := _CURSOR.match(sql)):
        return sql[cursor.end() :]
    return sql
