"""Loops that have to ask again and again: reading a table piece by piece, emptying a queue, waiting for a row, looking
for a name that is free.

Told from the query's text, what was written in between, and the code of the loop. Loads of an object's own relation are
never taken for one.
"""

from __future__ import annotations

import re
from types import FrameType

from clew.detectors import walks
from clew.detectors.relation import Load
from clew.source import frames
from clew.source.stack import stack
from clew.story.queries import Place
from clew.story.query import Query

_LIMIT = re.compile(r"\b(?:LIMIT|FETCH FIRST|TOP)\s+\(?(\d+|%s|\?)", re.IGNORECASE)
_OFFSET = re.compile(r"\bOFFSET\s+(?:\d+|%s|\?)", re.IGNORECASE)
_LIST = re.compile(r"\bIN\s*\(\s*(?:%s|\?|\d+|'[^']*')\s*[,)]|=\s*ANY\s*\(", re.IGNORECASE)
_ORDER = re.compile(r"\bORDER BY\s+([\w\".`\[\]]+)", re.IGNORECASE)
_RANGE = re.compile(r"([\w\".`\[\]]+)\s*[<>]=?\s*\(?(?:%s|\?|%\()", re.IGNORECASE)
_WAITS = frozenset(("sleep", "wait", "asleep"))
_MAX_LOOPS = 3
_LOOKS_FOR_A_NAME = frozenset(("exists", "count", "contains"))


def is_queue(query: Query, place: Place) -> bool:
    """Whether the row that is written was fetched alone, as the next one to be done, or from rows others skip."""
    if any("skip_locked" in _keywords(frame) for frame in walks.application_frames(query)):
        return True
    found = walks.innermost_loop(query)
    is_while = found is not None and not found[1].is_for
    queries, table = query.local.queries, query.statement.tables[:1]
    for log in queries.aliases.values() if queries is not None else ():
        for each in log.repeats.values():
            statement = each.statement
            if not statement.is_select or not set(table) <= set(statement.tables):
                continue
            if "SKIP LOCKED" in statement.text:
                return True
            limit = _LIMIT.search(statement.text)
            is_next = statement.locks_rows or (is_while and limit is not None and limit[1] != "21")
            if is_next and each.count >= place.count - 1:
                return True
    return False


def _keywords(frame: FrameType) -> list[str]:
    return [name for each in frame.f_code.co_consts if type(each) is tuple for name in each if type(name) is str]


def is_scan(query: Query, load: Load) -> bool:
    """Whether a query that is no relation's is one step of a loop that cannot do without."""
    text = query.statement.text
    if not query.statement.tables or query.statement.locks_rows:
        return True
    if _LIST.search(text) and not walks.is_of_objects(query):
        return True
    if _is_range_of_keys(load) or (load.method in _LOOKS_FOR_A_NAME and _is_search(query, load)):
        return True
    # .get() has a LIMIT of 21, .first() one of 1: no pages.
    limit = _LIMIT.search(text)
    ranges = {_bare(found) for found in _RANGE.findall(text)}
    if limit is not None and limit[1] not in ("1", "21"):
        order = _ORDER.search(text)
        if _OFFSET.search(text) or (order is not None and _bare(order[1]) in ranges):
            return True
    # What is due now, with the time as a parameter, while rows are done one by one.
    return bool(limit is not None and ranges and _is_queue(query)) or is_waiting(query)


def _is_range_of_keys(load: Load) -> bool:
    """Whether a table is read from one key to another, piece by piece."""
    by_key = [each for each in load.facts.where if each.field.primary_key and each.path == each.field.name]
    lookups = {each.lookup for each in by_key}
    return "range" in lookups or (not lookups.isdisjoint(("gt", "gte")) and not lookups.isdisjoint(("lt", "lte")))


def _is_search(query: Query, load: Load) -> bool:
    """Whether the loop goes on until the answer is another: a slug that is not taken."""
    found = walks.innermost_loop(query)
    if found is None or walks.is_recursive(query):
        return walks.is_recursive(query)
    frame, loop = found
    # `for number in itertools.count()`
    is_endless = load.method != "count" and "count" in frame.f_code.co_names
    return not loop.is_for or (is_endless and all(type(each) is int for each in loop.values(frame)))


def _bare(column: str) -> str:
    return column.rpartition(".")[2].strip('"`[]').lower()


def _is_queue(query: Query) -> bool:
    written = query.local.queries.written if query.local.queries is not None else {}
    return any(table in written for table in query.statement.tables)


def is_waiting(query: Query) -> bool:
    """Whether the code around a query sleeps: it polls."""
    found = 0
    for frame in stack(query.frame):
        kind = frames.kind_of(frame)
        if kind == frames.APPLICATION:
            if not _WAITS.isdisjoint(frame.f_code.co_names):
                return True
            found += 1
        if found >= _MAX_LOOPS or kind in (frames.VIEW, frames.TASK):
            return False
    return False
