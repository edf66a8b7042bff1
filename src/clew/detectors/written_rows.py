"""How many rows one place in the code has written, one by one; told from parameters and the driver's counts.

A statement that comes again is no loop over rows when it writes the same row (progress, a heartbeat) or many rows each
time (chunks, a tree's numbers), or when it wants to know whether it was the first (compare and swap).
"""

from __future__ import annotations

import re
from typing import Any

from clew.detectors import orm_frames
from clew.detectors.parameters import digest
from clew.story.queries import Place
from clew.story.query import Query

_SET = re.compile(r"\bSET\b(.*?)\bWHERE\b(.*)", re.IGNORECASE | re.DOTALL)
_COLUMN = re.compile(r"[\"`\[]?(\w+)[\"`\]]?\s*(?:=|<|>|IN\b|IS\b)", re.IGNORECASE)
_TREES = ("mptt", "treebeard", "tree_queries", "polymorphic_tree")
# Of so many more statements than rows no more is asked.
_MAX_RUNS = 50


class Rows:
    """The rows a place has written.

    Args:
        place: whose runs are counted.
    """

    __slots__ = ("is_over", "seen", "values")

    def __init__(self, place: Place) -> None:
        text = place.repeats.statement.text
        where = re.split(r"\bWHERE\b", text, flags=re.IGNORECASE)
        # Which row it is, say the parameters of the condition; an INSERT makes another each time.
        self.values = where[-1].count("%s") if len(where) > 1 else 0
        self.seen: set[int] = set()
        self.is_over = is_compare_and_swap(text)
        if place.count > 1:
            self.seen.add(self._key(place, place.repeats.first_params, 0))

    def add(self, query: Query, place: Place, threshold: int) -> bool:
        """Take account of a run that begins; True: rows were written one by one, as many as the threshold."""
        self.seen.add(self._key(place, query.params, place.count))
        if place.count > _MAX_RUNS * threshold:
            self.is_over = True
        if len(self.seen) < threshold:
            return False
        before = place.count - 1
        return place.affected <= before + before // 2

    def _key(self, place: Place, params: Any, number: int) -> int:
        if not self.values or type(params) not in (tuple, list) or len(params) < self.values:
            return number
        found = digest(place.repeats.statement, tuple(params[-self.values :]))
        return number if found is None else found


def is_compare_and_swap(text: str) -> bool:
    """Whether an UPDATE's condition is on a column that it sets: only one of several processes can have done it."""
    found = _SET.search(text)
    if found is None or not text.upper().startswith("UPDATE"):
        return False
    return not set(_COLUMN.findall(found[1])).isdisjoint(_COLUMN.findall(found[2]))


def is_of_a_tree(instance: Any) -> bool:
    """Whether an object has a parent of its own table, or a library keeps its place in a tree."""
    kind = type(instance)
    if not orm_frames.is_model(kind):
        return False
    if any(base.__module__.startswith(_TREES) for base in kind.__mro__):
        return True
    held = instance.__dict__
    return any(
        field.is_relation and field.related_model in kind.__mro__ and held.get(field.attname) is not None
        for field in kind._meta.concrete_fields
    )
