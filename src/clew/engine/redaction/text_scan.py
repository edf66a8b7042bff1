"""The few ways in which the redactor looks at a text, so that a test can count what a hostile text costs.

No pattern given to these repeats anything without a bound before its last element: what starts at one place costs a
bounded number of steps there or takes all it has looked at, and the redactor's work is linear in the text's length.
"""

from __future__ import annotations

from collections.abc import Callable
from re import Match, Pattern


def find(text: str, what: str, at: int, end: int | None = None) -> int:
    """The next position of `what`, or -1."""
    return text.find(what, at, len(text) if end is None else end)


def first(pattern: Pattern[str], text: str, at: int) -> Match[str] | None:
    """The first match from there on."""
    return pattern.search(text, at)


def here(pattern: Pattern[str], text: str, at: int) -> Match[str] | None:
    """The match that begins exactly there."""
    return pattern.match(text, at)


def end_of_line(text: str, at: int, limit: int | None = None) -> int:
    """Where this line ends, at the limit at most: at a line feed, also one written as two characters by a repr."""
    limit = len(text) if limit is None else limit
    end = find(text, "\n", at, limit)
    end = limit if end < 0 else end
    escaped = find(text, "\\n", at, end)
    return end if escaped < 0 else escaped


def replaced_after(pattern: Pattern[str], text: str, end_of: Callable[[str, Match[str]], int], by: str) -> str:
    """The text with another one in the place of what follows each match, up to where `end_of` says that it ends."""
    parts, last = [], 0
    match = first(pattern, text, 0)
    while match is not None:
        end = end_of(text, match)
        if end > match.end():
            parts += [text[last : match.end()], by]
            last = end
        match = first(pattern, text, max(end, match.end()))
    return "".join([*parts, text[last:]])
