"""All lines a query came by, to be known again without a walk."""

from __future__ import annotations

import sys
from types import FrameType
from typing import Any

from clew.source.frames import APPLICATION, FIRST_END, JINJA, TEMPLATE_NODE, THREAD, kind_of
from clew.source.place import who_of


class Route:
    """All lines a query came by, as far as they tell one place from another, to be known again without a walk.

    Args:
        depth: frames from where a search begins to the one the application, or a template's node, called.
        inner: of what lies before it, what is told apart by who it is: index, kind, who.
        outer: from there on outwards: code object, instruction, kind or 0, who.
        end: the code object the walk ends at.
    """

    __slots__ = ("_depth", "_end", "_inner", "_outer")

    def __init__(self, depth: int, inner: list[tuple[Any, ...]], outer: list[tuple[Any, ...]], end: Any) -> None:
        self._depth, self._inner, self._outer, self._end = depth, inner, outer, end

    def is_taken(self, depth: int) -> bool:
        """Whether the stack has the same lines.

        Args:
            depth: of where the search begins, below the caller.
        """
        depth += 1
        try:
            frame: FrameType | None = sys._getframe(depth + self._depth)
            for index, code, kind, who in self._inner:
                inner = sys._getframe(depth + index)
                if inner.f_code is not code or (kind and who_of(kind, inner.f_locals) != who):
                    return False
        except ValueError:
            return False  # the stack is not that deep
        for code, at, kind, who in self._outer:
            if frame is None or frame.f_lasti != at or frame.f_code is not code:
                return False
            if kind and who_of(kind, frame.f_locals) != who:
                return False
            frame = frame.f_back
        return frame is not None and frame.f_code is self._end


def route_from(frame: FrameType | None) -> Route | None:
    """The route a query takes that is run at `frame`; None where not all of it is on this thread's stack."""
    walked: list[tuple[Any, ...]] = []
    first = -1
    while frame is not None:
        kind = kind_of(frame)
        if kind >= FIRST_END:
            break
        if first < 0 and kind in (APPLICATION, TEMPLATE_NODE, JINJA):
            first = max(len(walked) - 1, 0)
        is_told_apart = TEMPLATE_NODE <= kind < JINJA
        who = who_of(kind, frame.f_locals) if is_told_apart else 0
        walked.append((frame.f_code, frame.f_lasti, kind if is_told_apart else 0, who))
        frame = frame.f_back
    if frame is None or kind_of(frame) == THREAD or first < 0:
        return None
    # Half way to the application one more is looked at: another way there might be as long.
    inner = [
        (index, code, kind, who)
        for index, (code, _, kind, who) in enumerate(walked[:first])
        if kind or index == first // 2
    ]
    return Route(first, inner, walked[first:], frame.f_code)
