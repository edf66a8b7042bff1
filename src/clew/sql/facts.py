"""What a fingerprint says: its summary, its operation, and whether it reads, writes, locks or returns few rows."""

from __future__ import annotations

import re
from dataclasses import dataclass

from clew.sql import opening as sql_opening
from clew.sql.reader import Reader, words
from clew.sql.tokens import tokens

MAX_SUMMARY = 255

_WRITES = words("INSERT UPDATE DELETE REPLACE MERGE TRUNCATE")
_CONTROL = words("COMMIT END ROLLBACK ABORT SAVEPOINT") | {
    *("START TRANSACTION", "SET TRANSACTION", "SAVE TRANSACTION"),
    *("RELEASE SAVEPOINT", "ROLLBACK TO SAVEPOINT"),
}
# Otherwise BEGIN opens a block of a procedure.
_AFTER_BEGIN = {""} | words("WORK TRAN TRANSACTION IMMEDIATE DEFERRED EXCLUSIVE ISOLATION READ")
_AGGREGATES = words(
    "ARRAY_AGG AVG BIT_AND BIT_OR BIT_XOR BOOL_AND BOOL_OR COUNT EVERY GROUP_CONCAT JSONB_AGG JSON_AGG JSON_ARRAYAGG"
    " JSON_OBJECTAGG LISTAGG MAX MIN STDDEV_POP STDDEV_SAMP STRING_AGG SUM TOTAL VAR_POP VAR_SAMP XMLAGG"
)
_TOP = re.compile(r"\bTOP ?\(?[?%]", re.IGNORECASE)
# Django's .exists() without its 1, which is a literal like any other here.
_EXISTENCE = re.compile(r'[( ]*SELECT \(?\?\)? AS ["`\[]?a["`\]]? FROM ', re.IGNORECASE)


@dataclass(slots=True, eq=False)
class Facts:
    """What is the same for all texts of one fingerprint."""

    # The same object for texts that differ only in values, whitespace, comments and lengths of lists.
    fingerprint: str
    # `SELECT auth_user auth_group`: the operation and its tables, at most 255 characters.
    summary: str
    # In upper case, `SELECT` or `CREATE TABLE`; empty when it cannot be told.
    operation: str
    # The table, if there is exactly one.
    collection: str | None
    # Unquoted, with their schema where the text has it.
    tables: tuple[str, ...]
    # Reads, and only that.
    is_select: bool
    # Inserts, updates, deletes or truncates, if only in a common table expression.
    is_write: bool
    # Begins, ends or divides a transaction.
    is_control: bool
    # A SELECT that locks the rows it reads.
    locks_rows: bool
    # Says how many rows at most, at the top level.
    is_limited: bool
    # Returns one row, of aggregates or of whether there is any.
    is_aggregate: bool


def facts(fingerprint: str) -> Facts:
    """Read a fingerprint (`sql_tokens.normalized`); of several statements, the first."""
    found = tokens(fingerprint)
    if ";" in found:
        del found[found.index(";") :]
    reader = Reader(found)
    sql_opening.read(reader)
    operation, targets = reader.operation, reader.targets
    if reader.has_with:
        # What the statement itself works on comes first, not what its common table expressions read.
        targets.sort(key=lambda target: target[0] != operation)
    tables = tuple(dict.fromkeys([table for _, table in targets]))
    is_write = operation in _WRITES or (reader.writes and operation == "SELECT")
    is_select = operation == "SELECT" and not is_write
    is_limited = reader.is_limited or (is_select and "TOP" in reader.words and _TOP.search(fingerprint) is not None)
    is_existence = is_limited and _EXISTENCE.match(fingerprint) is not None
    return Facts(
        fingerprint,
        summary=_summary(reader),
        operation=operation,
        collection=tables[0] if len(tables) == 1 else None,
        tables=tables,
        is_select=is_select,
        is_write=is_write,
        is_control=operation in _CONTROL or (operation == "BEGIN" and reader.words[1] in _AFTER_BEGIN),
        locks_rows=is_select and reader.locks_rows,
        is_limited=is_limited,
        is_aggregate=is_select and (is_existence or _is_aggregate(reader)),
    )


def _summary(reader: Reader) -> str:
    """The operation and its tables, then each operation inside it that names further tables."""
    text = last = reader.operation
    seen: set[str] = set()
    for operation, table in reader.targets or [(text, reader.object_name)]:
        if not table or table in seen:
            continue
        seen.add(table)
        more = f" {table}" if operation == last else f" {operation} {table}"
        if len(text) + len(more) > MAX_SUMMARY:
            break
        text += more
        last = operation
    return text


def _is_aggregate(reader: Reader) -> bool:
    """Whether one row comes back: the select list has nothing but aggregates, and they are not grouped."""
    names, depth, is_found = reader.words, 0, False
    if reader.is_grouped:
        return False
    if names[reader.select_at + 1] == "EXISTS":
        return not reader.has_from
    for at in range(reader.select_at + 1, len(names)):
        word = names[at]
        if word == "(":
            depth += 1
        elif word == ")":
            depth -= 1
        elif word in _AGGREGATES and names[at + 1] == "(":
            is_found = True
        elif word in ("SELECT", "OVER"):
            return False
        elif depth == 0 and word == "FROM":
            break
        elif depth == 0 and word == ",":
            if not is_found:
                break
            is_found = False
    return is_found
