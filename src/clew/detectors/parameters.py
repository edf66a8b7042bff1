"""Whether two runs of a query had the same parameters, told without keeping any.

Only values whose exact type is known are looked at: an application's own may be lazy, or answer a comparison with a
query. Anything else makes a run incomparable.
"""

from __future__ import annotations

import datetime
import decimal
import uuid
from typing import Any

from clew.sql.statement import Statement

_TEXTS = frozenset((str, bytes, type(None), bool, uuid.UUID))
_TIMES = frozenset((datetime.datetime, datetime.date, datetime.time, datetime.timedelta))
_NUMBERS = frozenset((int, float, decimal.Decimal))
_SIMPLE = _TEXTS | _TIMES | _NUMBERS
_MAX = 1000


class _OpaqueError(Exception):
    """A value whose type is not known, so that it cannot be compared."""


def digest(statement: Statement, params: Any) -> int | None:
    """The same number for the same text with the same parameters; None: they cannot be compared."""
    try:
        if type(params) is tuple and _SIMPLE.issuperset(map(type, params)) and -1 not in params:
            return hash((statement, params))
        # The statement stands for its text: a raw query's values may be in there, a slice's always are.
        return hash((statement, _plain(params) if params is not None else ()))
    except (_OpaqueError, TypeError, ArithmeticError):
        return None


def digest_of(value: Any) -> int | None:
    """The same number for the same value; None: it cannot be compared."""
    try:
        return hash((_plain(value),))
    except (_OpaqueError, TypeError, ArithmeticError):
        return None


def is_simple(value: Any) -> bool:
    """Whether it is one value of a type we know."""
    return type(value) in _SIMPLE


def are_different(one: Any, other: Any) -> bool:
    """Whether two values are known to differ."""
    try:
        return bool(_plain(one) != _plain(other))
    except (_OpaqueError, TypeError, ArithmeticError):
        return False


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _NUMBERS:
        return "-1" if value == -1 else value  # Python's hashes of -1 and -2 are the same
    if kind in _TEXTS or kind in _TIMES:
        return value
    if kind in (tuple, list):
        if len(value) > _MAX:
            raise _OpaqueError
        return tuple([_plain(each) for each in value])
    if kind is dict:
        return tuple([(key, _plain(each)) for key, each in value.items()])
    # Wrappers of Django's and the drivers', and choices; their own methods are not called.
    if issubclass(kind, int):
        return _plain(int.__int__(value))
    if issubclass(kind, str):
        return str.__str__(value)
    raise _OpaqueError
