"""All lines a query came by, to be known again without a walk."""

from __future__ import annotations

import sys
from types import CodeType, FrameType

from clew.source.frames import APPLICATION, FIRST_END, JINJA, TEMPLATE_NODE, THREAD, kind_of
from clew.source.steps import Step, are_taken, is_told_apart, who_of


class Route:
    """All lines a query came by, as far as they tell one place from another, to be known again without a walk.

    Args:
        depth: frames from where a search begins to the one the application, or a template's node, called.
        apart: what is told apart by who it is: index, code object, kind, who; and what else is looked at on the way.
        outer: from there on outwards.
        end: the code object the walk ends at.
    """

    __slots__ = ("_apart", "_depth", "_end", "_outer")

    def __init__(
        self, depth: int, apart: list[tuple[int, CodeType, int, int]], outer: list[Step], end: CodeType
    ) -> None:
        self._depth, self._apart, self._outer, self._end = depth, apart, outer, end

    def is_taken(self, depth: int) -> bool:
        """Whether the stack has the same lines.

        Args:
            depth: of where the search begins, below the caller.
        """
        depth += 1
        try:
            for index, code, kind, who in self._apart:
                frame = sys._getframe(depth + index)
                if frame.f_code is not code or (kind and who_of(kind, frame.f_locals) != who):
                    return False
            return are_taken(self._outer, sys._getframe(depth + self._depth), self._end)
        except ValueError:
            return False  # the stack is not that deep


def route_from(frame: FrameType | None) -> Route | None:
    """The route a query takes that is run at `frame`; None where not all of it is on this thread's stack."""
    walked: list[tuple[CodeType, int, int, int]] = []
    first = -1
    while frame is not None:
        kind = kind_of(frame)
        if kind >= FIRST_END:
            break
        if first < 0 and kind in (APPLICATION, TEMPLATE_NODE, JINJA):
            first = max(len(walked) - 1, 0)
        is_apart = is_told_apart(kind)
        walked.append(
            (frame.f_code, frame.f_lasti, kind if is_apart else 0, who_of(kind, frame.f_locals) if is_apart else 0)
        )
        frame = frame.f_back
    if frame is None or kind_of(frame) == THREAD or first < 0:
        return None
    # Half way to the application one more is looked at: another way there might be as long.
    apart = [
        (index, code, kind, who) for index, (code, _, kind, who) in enumerate(walked) if kind or index == first // 2
    ]
    return Route(first, apart, [(code, at) for code, at, _, _ in walked[first:]], frame.f_code)
