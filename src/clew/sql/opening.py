"""How a statement begins: its operation, and whether tables follow.

A first word that is no operation known here is not told: it may be anything, a value too.
"""

from __future__ import annotations

from clew.sql.reader import MODIFIERS, Reader, words
from clew.sql.tokens import unquoted

_QUERIES = words("( SELECT WITH INSERT UPDATE DELETE REPLACE MERGE")
_DEFINITIONS = words("CREATE ALTER DROP REFRESH")
_TABLE_LIKE = words("TABLE VIEW")
_OBJECTS = _TABLE_LIKE | words("INDEX SEQUENCE SCHEMA EXTENSION FUNCTION PROCEDURE TRIGGER TYPE")
_ON_TABLES = words("TRUNCATE COPY DESCRIBE DESC LOCK")
_ON_TABLE_LISTS = words("TRUNCATE LOCK")
_ON_ROUTINES = words("CALL EXEC EXECUTE PRAGMA")
_OTHERS = _ON_ROUTINES | words(
    "ABORT ANALYZE ATTACH BEGIN CHECKPOINT CLOSE CLUSTER COMMENT COMMIT DEALLOCATE DECLARE DETACH DISCARD DO END FETCH"
    " FLUSH GRANT HANDLER KILL LISTEN LOAD MOVE NOTIFY OPTIMIZE PREPARE REINDEX RESET REVOKE SAVEPOINT SHOW UNLISTEN"
    " UNLOCK USE VACUUM VALUES"
)


def read(reader: Reader) -> None:
    """Look at the first words, and have the rest read where there are tables in it."""
    first = reader.words[0]
    if first in _QUERIES:
        reader.read(0)
    elif first in _DEFINITIONS:
        _read_definition(reader, first)
    elif first == "EXPLAIN":
        reader.operation = first
        reader.read(1)
    elif first in _ON_TABLES:
        reader.expect(first, is_listing=first in _ON_TABLE_LISTS)
        reader.read(1)
    else:
        reader.operation = _operation(reader.words)
        if first in _ON_ROUTINES and len(reader.tokens) > 1:
            reader.object_name = unquoted(reader.tokens[1])


def _read_definition(reader: Reader, verb: str) -> None:
    names = reader.words
    at = next((at for at in range(1, min(7, len(names))) if names[at] in _OBJECTS), 0)
    if not at:
        reader.operation = verb
        return
    kind = f"MATERIALIZED {names[at]}" if names[at - 1] == "MATERIALIZED" else names[at]
    reader.operation = f"{verb} {kind}"
    if names[at] in _TABLE_LIKE:
        reader.expect(reader.operation, is_listing=verb == "DROP")
        reader.read(at + 1)
        return
    name_at = at + 1
    while names[name_at] in MODIFIERS:
        name_at += 1
    if name_at < len(reader.tokens) and names[name_at] != "ON":
        reader.object_name = unquoted(reader.tokens[name_at])
    if names[at] == "INDEX":
        reader.read(name_at)


def _operation(names: list[str]) -> str:
    """Of a statement without tables: transactions, settings, administration."""
    first = names[0]
    if first in ("START", "SAVE"):
        return f"{first} TRANSACTION" if names[1] in ("TRANSACTION", "TRAN") else first
    if first == "SET":
        return "SET TRANSACTION" if "TRANSACTION" in names[1:5] else first
    if first == "ROLLBACK":
        return "ROLLBACK TO SAVEPOINT" if "TO" in names[1:3] else first
    if first == "RELEASE":
        return "RELEASE SAVEPOINT"
    return first if first in _OTHERS else ""
