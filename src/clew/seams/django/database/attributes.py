"""What a query's attributes say of its database and its text; worked out once for each alias, text and line."""

from __future__ import annotations

import os
import re
from types import FrameType
from typing import Any

from clew import attributes as names
from clew.engine import configuration
from clew.source.phase import phase_of
from clew.spans.identity import StaticAttributes
from clew.sql.statement import KNOWN_FROM_ORM, Statement, statement
from clew.story.query import Query
from clew.story.receiving import KEY as RECEIVING
from clew.story.receiving import note_receiver

_SYSTEMS = {"oracle": "oracle.db", "microsoft": "microsoft.sql_server", "mssql": "microsoft.sql_server"}
_ORM = ("django.db.models.", "django.contrib.gis.db.models.", "django.contrib.postgres.")
_RAW = "django.db.models.sql.query"  # only RawQuery runs queries there
_MAX_STATIC = 2_000
_MAX_PARAMETERS = 20
# MySQL's double quotes are strings, everybody else's are names.
_QUOTED = re.compile(r"""'(?:[^'\\]|\\.|'')*(?:'|\Z)|("(?:[^"\\]|\\.|"")*(?:"|\Z))""", re.DOTALL)
_PLAIN = (str, int, float, bool, bytes, type(None))


def _place(settings: Any) -> tuple[Any, ...]:
    return settings.get("NAME"), settings.get("HOST"), settings.get("PORT")


class Database:
    """One alias: its attributes, and those of the queries on it that are always the same.

    Args:
        connection: Django's connection; only its settings are read.
    """

    __slots__ = ("attributes", "place", "settings", "static")

    def __init__(self, connection: Any) -> None:
        self.settings = connection.settings_dict
        self.place = _place(self.settings)
        self.attributes = _of_connection(connection)
        self.static: dict[tuple[Any, ...], StaticAttributes] = {}

    def is_of(self, settings: Any) -> bool:
        """Whether it still is what the settings say: a site may change them in place, one tenant after the other."""
        return self.settings is settings and _place(settings) == self.place


_databases: dict[str, Database] = {}
# Of sites that change their connection's settings in place, one tenant after the other.
_tenants: dict[tuple[Any, ...], Database] = {}
_MAX_TENANTS = 500


def _database(connection: Any, alias: str) -> Database:
    settings = connection.settings_dict
    database = _databases.get(alias)
    if database is not None and database.is_of(settings):
        return database
    if database is not None and database.settings is settings:
        key = (alias, id(settings), *map(str, _place(settings)))
        database = _tenants.get(key)
        if database is None or database.settings is not settings:
            if len(_tenants) >= _MAX_TENANTS:
                _tenants.clear()
            database = _tenants[key] = Database(connection)
        _databases[alias] = database
        return database
    database = _databases[alias] = Database(connection)
    return database


def static_attributes(query: Query, parent: Any) -> StaticAttributes:
    """What each query of this text, from this line, below a span of that name has in common; worked out once."""
    static = _database(query.connection, query.alias).static
    key = (query.statement, query.site, parent.name)
    found = static.get(key)
    if found is None:
        if len(static) >= _MAX_STATIC:
            static.clear()
        found = static[key] = StaticAttributes(_described(query))
    return found


def _described(query: Query) -> dict[str, Any]:
    found = {**_database(query.connection, query.alias).attributes, **_of_text(query.statement)}
    if query.site is not None:
        found.update(query.site.attributes())
    if phase := phase_of(query.frame):
        found[names.CLEW_DB_PHASE] = phase
    return found


def own_attributes(query: Query) -> dict[str, Any]:
    """A new dictionary with what only this query says."""
    found: dict[str, Any] = {} if query.rows < 0 else {names.DB_RESPONSE_RETURNED_ROWS: query.rows}
    if RECEIVING in query.context:
        note_receiver(found)
    if configuration.settings.database_parameters:
        _note_parameters(found, query.params)
    return found


def batch_attributes(query: Query, static: StaticAttributes) -> dict[str, Any]:
    """All attributes of a batch, which changes what is said of the operation."""
    found = _batch(dict(static.mapping), query.params)
    note_receiver(found)
    return found


def _of_connection(connection: Any) -> dict[str, Any]:
    settings = connection.settings_dict
    found: dict[str, Any] = {names.DJANGO_DB_ALIAS: connection.alias, names.DB_SYSTEM_NAME: _system(connection)}
    name = str(settings.get("NAME") or "")
    if connection.vendor == "sqlite":
        # A path says where the project lies on this machine; the file's name tells databases apart.
        name = name if name.startswith(("file:", ":")) else os.path.basename(name)
    if name:
        found[names.DB_NAMESPACE] = name
    if host := settings.get("HOST"):
        found[names.SERVER_ADDRESS] = str(host)
        if str(port := settings.get("PORT") or "").isdigit():
            found[names.SERVER_PORT] = int(port)
    return found


def _system(connection: Any) -> str:
    vendor = str(connection.vendor)
    if vendor == "mysql":
        # Django asks the server once, when it connects; asking ourselves would be a query.
        data = vars(connection).get("mysql_server_data")
        return "mariadb" if data and "mariadb" in str(data.get("version", "")).lower() else "mysql"
    return _SYSTEMS.get(vendor, vendor)


def _of_text(statement: Statement) -> dict[str, Any]:
    found: dict[str, Any] = {names.DB_QUERY_TEXT: statement.text, names.DB_QUERY_SUMMARY: statement.summary}
    if statement.operation:
        found[names.DB_OPERATION_NAME] = statement.operation
    if statement.collection:
        found[names.DB_COLLECTION_NAME] = statement.collection
    return {key: value for key, value in found.items() if value}


def _batch(found: dict[str, Any], params: Any) -> dict[str, Any]:
    if type(params) in (list, tuple) and len(params) >= 2:
        found[names.DB_OPERATION_BATCH_SIZE] = len(params)
        if operation := found.get(names.DB_OPERATION_NAME):
            found[names.DB_OPERATION_NAME] = f"BATCH {operation}"
    return found


def _note_parameters(found: dict[str, Any], params: Any) -> None:
    if type(params) is dict:
        pairs = list(params.items())
    elif type(params) in (list, tuple):
        pairs = list(enumerate(params))
    else:
        return
    for key, value in pairs[:_MAX_PARAMETERS]:
        # issubclass of the type: isinstance() would evaluate a lazy object.
        text = repr(value)[:200] if issubclass(type(value), _PLAIN) else f"<{type(value).__name__}>"
        found[names.DB_QUERY_PARAMETER.replace("<n>", str(key))] = text


def statement_of(sql: Any, params: Any, cursor: Any, frame: FrameType | None) -> Statement:
    """What a query's text says.

    Args:
        sql: as the application gave it: a string, or an object of the driver's that makes one.
        params: only whether there are any counts.
        cursor: Django's, for the driver's own cursor.
        frame: the caller of Django's cursor.
    """
    text = sql if type(sql) is str else _as_text(sql, cursor)
    # A raw text that is letter for letter one of the ORM's has nothing in it that the ORM's has not.
    found = KNOWN_FROM_ORM.get(text)
    if found is not None:
        return found
    is_orms = _is_orms(frame)
    if not is_orms and cursor.db.vendor == "mysql" and '"' in text:
        text = _QUOTED.sub(lambda match: "'?'" if match[1] else match[0], text)
    return statement(text, has_parameters=_has_any(params), is_from_orm=is_orms)


def _has_any(params: Any) -> bool:
    return type(params) in (list, tuple, dict) and len(params) > 0


def _as_text(sql: Any, cursor: Any) -> str:
    if issubclass(type(sql), str):
        return str.__str__(sql)
    if issubclass(type(sql), (bytes, bytearray)):
        return bytes(sql).decode("utf-8", "replace")
    try:
        return _composed(sql, cursor)
    except Exception:  # noqa: BLE001 - the query itself will say what is wrong with it
        return ""


def _composed(sql: Any, cursor: Any) -> str:
    """The text of psycopg's `sql.Composable`; it asks no server. A literal's is made by code that may be anybody's."""
    kind = type(sql)
    if kind.__module__ not in ("psycopg.sql", "psycopg2.sql"):
        return ""
    if kind.__name__ == "Composed":
        return "".join([_composed(each, cursor) for each in sql])
    return "''" if kind.__name__ == "Literal" else str(sql.as_string(cursor.cursor))


def _is_orms(frame: FrameType | None) -> bool:
    """Whether Django's ORM wrote the text: the first caller outside Django's cursors."""
    for _ in range(6):
        if frame is None:
            return False
        module = frame.f_globals.get("__name__", "")
        if not module.startswith(("django.db.backends.utils", "clew.", "debug_toolbar", "contextlib")):
            return bool(module.startswith(_ORM)) and module != _RAW
        frame = frame.f_back
    return False


def status_code(error: BaseException) -> str:
    """The database's code of an error: SQLSTATE, MySQL's number, SQLite's name; "" where there is none."""
    cause: Any = error.__cause__ or error
    for attribute in ("sqlstate", "pgcode", "sqlite_errorname"):
        code = getattr(cause, attribute, None)
        if code:
            return str(code)
    number = cause.args[0] if cause.args else None
    return str(number) if type(number) is int else ""
