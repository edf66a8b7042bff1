"""How often equals of a span came and went below the same parent, and how long they took."""

from __future__ import annotations

from typing import Any

from clew import attributes as names


class Folded:
    """What the first of equal siblings counts of the others.

    Args:
        took_ns: how long the first took.
    """

    __slots__ = ("count", "first_ns", "group", "last_ns", "total_ns")

    def __init__(self, took_ns: int) -> None:
        self.count, self.total_ns, self.first_ns, self.last_ns = 1, took_ns, took_ns, 0
        # Where not all of them have been equal: what has their common name and attributes (`folding.FoldGroup`).
        self.group: Any = None

    def attributes(self) -> dict[str, Any]:
        """What the span says of it when it ends."""
        said = {names.CLEW_FOLDED_COUNT: self.count, names.CLEW_FOLDED_DURATION_MS: self.total_ns / 1e6}
        if self.last_ns:
            said[names.CLEW_FOLDED_FIRST_MS] = self.first_ns / 1e6
            said[names.CLEW_FOLDED_LAST_MS] = self.last_ns / 1e6
        return said
