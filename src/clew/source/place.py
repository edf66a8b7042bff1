"""Which place in the code a query is run from, loops and recursion taken together: what tells a loop from two lines.

The whole stack makes it, which costs a few microseconds; most of a walk is saved where the last run came the same way.
"""

from __future__ import annotations

import functools
import sys
from types import FrameType
from typing import Any

from clew.engine import needs, silenced
from clew.source import frames
from clew.source.frames import (
    APPLICATION,
    DESCRIPTOR,
    FIRST_END,
    FORM_FIELDS,
    JINJA,
    OURS,
    SERIALIZER_FIELDS,
    TEMPLATE_NODE,
    THREAD,
)
from clew.source.stack import awaiting_frames

_MAX_PLACES = 10_000
_places: dict[int, int] = {}
# Whose field, node or prefetch a frame is at.
needs.declare(
    __name__,
    *needs.inside("django.db.models.query", "prefetch_one_level", "lookup", "level"),
    *needs.attributes("django.db.models.query", "Prefetch", "prefetch_to"),
    *needs.inside("django.forms.forms", "BaseForm._clean_fields", "name"),
    *needs.inside("rest_framework.serializers", "Serializer.to_representation", "field"),
    *needs.inside("rest_framework.serializers", "Serializer.to_internal_value", "field"),
    *needs.attributes("rest_framework.fields", "Field", "field_name"),
    consequence="n_plus_one and write_in_loop are not looked for, since two fields or prefetches would look like one",
    switch_off=functools.partial(silenced.silence, "n_plus_one", "write_in_loop"),
)


def place(frame: FrameType | None) -> int:
    """A number that is the same for the same place in the code, however often a loop or recursion comes by.

    A template's nodes, a serializer's or form's fields, descriptors and prefetches run through one line of their
    library's code each: who they are counts too, else two foreign keys to one model would look like a loop.

    Args:
        frame: where to begin, outwards.
    """
    return _walked(frame, [])[0]


class CallPath:
    """How a query came from the application through its libraries, so that the same way need not be walked again.

    Args:
        depth: frames from where a walk begins to the one the application called.
        called: that frame.
        who: the descriptor it is of; 0 where it is none.
        inner: the walk up to the application.
    """

    __slots__ = ("_code", "_instruction", "_who", "depth", "inner")

    def __init__(self, depth: int, called: FrameType, who: int, inner: list[int]) -> None:
        self.depth = depth
        self._code = id(called.f_code)
        self._instruction = called.f_lasti
        self._who = who
        self.inner = inner

    def is_of(self, called: FrameType) -> bool:
        """Whether the application has called the same, which was as far when it did."""
        if id(called.f_code) != self._code or called.f_lasti != self._instruction:
            return False
        return not self._who or id(called.f_locals.get("self")) == self._who


def place_by_path(start: FrameType | None, depth: int, way: CallPath | None) -> tuple[int, CallPath | None]:
    """The place a query is run from, and the way it came.

    Args:
        start: where to begin, outwards.
        depth: of `start`, below the caller.
        way: the one a run of the same query took before; walked again only in part if this one takes it, too.
    """
    if way is not None:
        try:
            called = sys._getframe(depth + 1 + way.depth)
        except ValueError:
            return _walked(start, [])  # the stack is not that deep
        outer = called.f_back
        if outer is not None and way.is_of(called) and frames.KINDS.get(id(outer.f_code)) == APPLICATION:
            return _walked(outer, way.inner.copy())[0], way
    return _walked(start, [])


def _walked(frame: FrameType | None, walked: list[int]) -> tuple[int, CallPath | None]:
    kinds = frames.KINDS
    # Code object, instruction, code object, instruction ...: flat, because this is the walk's whole cost.
    append = walked.append
    way, depth, who, called = None, 0, 0, None
    while frame is not None:
        code = id(frame.f_code)
        kind = kinds.get(code)
        if kind is None:
            kind = frames.learn(frame)
        if kind >= FIRST_END:
            if kind == THREAD:
                for awaiting in awaiting_frames():
                    walked += (0, hash((id(awaiting.f_code), awaiting.f_lineno)))
            break
        if kind == APPLICATION and way is None and called is not None and who >= 0:
            way = CallPath(depth - 1, called, who, walked.copy())
        if kind != OURS:
            append(code)
            append(frame.f_lasti)
        if TEMPLATE_NODE <= kind < JINJA:
            named = who_of(kind, frame.f_locals)
            append(0)
            append(named)
            # Only the descriptor that the application itself asked can be told again from its frame alone.
            who = named if kind == DESCRIPTOR and not who else -1
        elif who:
            who = -1
        depth += 1
        called = frame
        frame = frame.f_back
    key = hash(tuple(walked))
    found = _places.get(key)
    return (_place(key, walked) if found is None else found), way


def _place(key: int, walked: list[int]) -> int:
    """Drop what comes again further out: a recursion is the same place however deep it is."""
    if len(_places) >= _MAX_PLACES:
        _places.clear()
    cells = [
        (code, frames.first_cell(code, at) if code else at) for code, at in zip(walked[::2], walked[1::2], strict=True)
    ]
    found = _places[key] = hash(tuple(dict.fromkeys(cells)))
    return found


def who_of(kind: int, held: Any) -> int:
    """Who a frame of a node, field, descriptor or prefetch is at, by its variables."""
    if kind in (TEMPLATE_NODE, DESCRIPTOR):
        return id(held.get("self"))
    # By name: each row may have a serializer, a form or a Prefetch of its own.
    if kind == FORM_FIELDS:
        return hash(held.get("name"))
    if kind == SERIALIZER_FIELDS:
        return hash(getattr(held.get("field"), "__dict__", {}).get("field_name"))
    return hash((getattr(held.get("lookup"), "prefetch_to", None), held.get("level")))
