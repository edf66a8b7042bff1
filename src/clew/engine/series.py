"""How many time series a metric may have: what anybody may write into a message or a request ends as `_OTHER`.

Each combination of attributes is kept by the SDK, and by the backend, for good. The specification's limit of 2,000 is
not in Python's SDK yet.
"""

from __future__ import annotations

from typing import Any

# As the conventions say it of a method that HTTP does not know.
OTHER = "_OTHER"
MAX_SERIES = 2_000


class Series:
    """The series of one metric, or of some with the same attributes.

    Args:
        outside: the attributes that are `_OTHER` together when there are too many series.
    """

    def __init__(self, *outside: str) -> None:
        self._outside = outside
        self._values: dict[str, set[Any]] = {}
        self._known: set[frozenset[tuple[str, Any]]] = set()

    def bounded(self, labels: dict[str, Any]) -> dict[str, Any]:
        """The labels to record: a value that is one too many, of its attribute or in this combination, is `_OTHER`."""
        key = frozenset(labels.items())
        if key in self._known:
            return labels
        found = {name: self._of_attribute(name, value) for name, value in labels.items()}
        key = frozenset(found.items())
        if key in self._known or len(self._known) < MAX_SERIES:
            self._known.add(key)
            return found
        return {name: OTHER if name in self._outside else value for name, value in found.items()}

    def _of_attribute(self, name: str, value: Any) -> Any:
        known = self._values.setdefault(name, set())
        if value in known:
            return value
        if len(known) >= MAX_SERIES:
            return OTHER
        known.add(value)
        return value

    def reset(self) -> None:
        """Another provider may be there next time."""
        self._values.clear()
        self._known.clear()
