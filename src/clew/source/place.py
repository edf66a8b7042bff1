"""Which place in the code a query is run from, loops and recursion taken together: what tells a loop from two lines.

The whole stack makes it, which costs a few microseconds; most of a walk is saved where the last run came the same way.
"""

from __future__ import annotations

import sys
from types import CodeType, FrameType

from clew.source import frames
from clew.source.frames import APPLICATION, DESCRIPTOR, FIRST_END, JINJA, OURS, TEMPLATE_NODE, THREAD
from clew.source.stack import awaiting_frames
from clew.source.steps import Step, are_taken, who_of

_MAX_PLACES = 10_000
_places: dict[int, int] = {}


def place(frame: FrameType | None) -> int:
    """A number that is the same for the same place in the code, however often a loop or recursion comes by.

    Args:
        frame: where to begin, outwards.
    """
    return _walked(frame)[0]


class Inner:
    """How a query came from the application through its libraries.

    Args:
        depth: frames from where a walk begins to the one the application called; -1: the application itself began it.
        called: that frame.
        who: the descriptor it is of; 0 where it is none.
        walked: the walk up to the application.
    """

    __slots__ = ("_code", "_epoch", "_instruction", "_who", "depth", "walked")

    def __init__(self, depth: int, called: FrameType | None, who: int, walked: list[int]) -> None:
        self.depth, self.walked = depth, walked
        self._code = None if called is None else called.f_code
        self._instruction = 0 if called is None else called.f_lasti
        self._who, self._epoch = who, frames.epoch

    def caller(self, called: FrameType) -> FrameType | None:
        """The application's frame, if it has called the same, which was as far when it did."""
        if called.f_lasti != self._instruction or called.f_code is not self._code or self._epoch is not frames.epoch:
            return None
        if self._who and id(called.f_locals.get("self")) != self._who:
            return None
        return called.f_back


class CallPath:
    """How a query came to be run, so that the same way need not be walked again.

    Args:
        inner: up to the application.
        outer: the walk from there on outwards.
        end: what it ended at; None: at nothing that can be known again.
        place: what it made.
    """

    __slots__ = ("_end", "_outer", "_steps", "inner", "place")

    def __init__(self, inner: Inner, outer: list[int], end: CodeType | None, place: int) -> None:
        self.inner, self._outer, self._end, self.place = inner, outer, end, place
        self._steps: list[Step] | None = None

    def is_taken(self, frame: FrameType | None) -> bool:
        """Whether the application's frames, from this one outwards, are at the same lines."""
        if self._end is None:
            return False
        if self._steps is None:
            self._steps = _steps(self._outer)
        return are_taken(self._steps, frame, self._end)


def _steps(walked: list[int]) -> list[Step]:
    found: list[Step] = []
    for code, at in zip(walked[::2], walked[1::2], strict=True):
        if code:
            found.append((frames.code_of(code), at))
        else:
            found.insert(-1, (None, at))
    return found


def place_by_path(start: FrameType | None, depth: int, way: CallPath | None) -> tuple[int, CallPath | None]:
    """The place a query is run from, and the way it came.

    Args:
        start: where to begin, outwards.
        depth: of `start`, below the caller.
        way: the one a run of the same query took before; walked again only where this one takes another.
    """
    if way is not None:
        inner, caller = way.inner, start
        if inner.depth >= 0:
            try:
                caller = inner.caller(sys._getframe(depth + 1 + inner.depth))
            except ValueError:
                caller = None  # the stack is not that deep
        if caller is not None:
            if way.is_taken(caller):
                return way.place, way
            if frames.KINDS.get(id(caller.f_code)) == APPLICATION:
                return _walked_on(caller, inner.walked.copy(), inner)
    return _walked(start)


def _walked(frame: FrameType | None) -> tuple[int, CallPath | None]:
    """Walk to the application, and on."""
    kinds = frames.KINDS
    # Code object, instruction, code object, instruction ...: flat, because this is the walk's whole cost.
    walked: list[int] = []
    kind, depth, who, called = OURS, 0, 0, None
    while frame is not None:
        code = id(frame.f_code)
        known = kinds.get(code)
        kind = frames.learn(frame) if known is None else known
        if kind == APPLICATION or kind >= FIRST_END:
            break
        if kind != OURS:
            walked += (code, frame.f_lasti)
        if TEMPLATE_NODE <= kind < JINJA:
            named = who_of(kind, frame.f_locals)
            walked += (0, named)
            # Only the descriptor that the application itself asked can be told again from its frame alone.
            who = named if kind == DESCRIPTOR and not who else -1
        elif who:
            who = -1
        depth += 1
        called = frame
        frame = frame.f_back
    is_known_again = frame is not None and kind == APPLICATION and who >= 0
    return _walked_on(frame, walked, Inner(depth - 1, called, who, walked.copy()) if is_known_again else None)


def _walked_on(frame: FrameType | None, walked: list[int], inner: Inner | None) -> tuple[int, CallPath | None]:
    """Walk from the application outwards."""
    kinds, append = frames.KINDS, walked.append
    first, end = len(walked), None
    while frame is not None:
        code = id(frame.f_code)
        kind = kinds.get(code)
        if kind is None:
            kind = frames.learn(frame)
        if kind >= FIRST_END:
            if kind != THREAD:
                end = frame.f_code
            for awaiting in () if end is not None else awaiting_frames():
                walked += (0, hash((id(awaiting.f_code), awaiting.f_lineno)))
            break
        if kind != OURS:
            append(code)
            append(frame.f_lasti)
            if kind > APPLICATION and kind < JINJA:
                append(0)
                append(who_of(kind, frame.f_locals))
        frame = frame.f_back
    key = hash(tuple(walked))
    found = _places.get(key)
    if found is None:
        found = _place(key, walked)
    return found, None if inner is None else CallPath(inner, walked[first:], end, found)


def _place(key: int, walked: list[int]) -> int:
    """Drop what comes again further out: a recursion is the same place however deep it is."""
    if len(_places) >= _MAX_PLACES:
        _places.clear()
    cells = [
        (code, frames.first_cell(code, at) if code else at) for code, at in zip(walked[::2], walked[1::2], strict=True)
    ]
    found = _places[key] = hash(tuple(dict.fromkeys(cells)))
    return found
