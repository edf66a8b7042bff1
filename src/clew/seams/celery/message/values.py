"""What a message's headers say, which anybody may have written: counts are integers, texts have an end.

Celery copes with most of what it does not expect there; nothing of ours may be the reason that a task is not told.
"""

from __future__ import annotations

from typing import Any

MAX_TEXT = 500
# A count, an index, the number of a retry.
MAX_COUNT = (1 << 31) - 1
_CONTAINERS = (dict, list, tuple, set, frozenset)


def count_of(value: Any) -> int | None:
    """A count that Celery has written; None for anything else."""
    return value if type(value) is int and 0 <= value <= MAX_COUNT else None


def text_of(value: Any) -> str:
    """A short text, or another short value as one; "" for what is neither."""
    if type(value) is str:
        return value if len(value) <= MAX_TEXT else value[:MAX_TEXT]
    if value is None or isinstance(value, _CONTAINERS):
        return ""
    try:
        return value[:MAX_TEXT].decode(errors="replace") if type(value) is bytes else str(value)[:MAX_TEXT]
    except Exception:  # noqa: BLE001 - a value of anybody's, or an integer with more digits than Python writes
        return ""


def mapping_of(value: Any) -> dict[str, Any]:
    """A dictionary, or an empty one for anything else."""
    return value if isinstance(value, dict) else {}
