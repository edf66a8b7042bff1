"""Whose the next run of a query is, told from the loops and calls of the application's code around it.

A recursion or a `while` that goes from row to row is no list: one more level of prefetch would mend one level. A list
of keys is a batch where the loop goes through batches, and one object's where it goes through objects, however many.
"""

from __future__ import annotations

from collections.abc import Iterator
from types import FrameType
from typing import Any

from clew.detectors import orm_frames
from clew.detectors.queryset_facts import Facts
from clew.source import call_site, frames, loops
from clew.source.loops import Loop
from clew.source.stack import stack
from clew.story.findings import LoopAround
from clew.story.query import Query

_MAX_FRAMES = 6
_MAX_DEPTH = 30
_ENDS = (frames.VIEW, frames.TASK)
_ROWS = frozenset((frames.TEMPLATE_NODE, frames.SERIALIZER_FIELDS))


def application_frames(query: Query) -> Iterator[FrameType]:
    """The application's frames around a query, innermost first, as far as the view or task."""
    left = _MAX_FRAMES
    for frame in stack(query.frame):
        kind = frames.kind_of(frame)
        if kind in _ENDS or not left:
            return
        if kind == frames.APPLICATION:
            left -= 1
            yield frame


def innermost_loop(query: Query) -> tuple[FrameType, Loop] | None:
    """The loop of the application's that the query is run in, and its frame; None: there is none."""
    for frame in application_frames(query):
        loop = loops.innermost(frame)
        if loop is not None:
            return frame, loop
    return None


def loops_around(start: FrameType | None) -> tuple[LoopAround, ...]:
    """The loops that a query or another call is made in, of code and of templates, innermost first.

    Where the application has none, those of libraries that go through objects.
    """
    found: list[LoopAround] = []
    theirs: list[LoopAround] = []
    left = _MAX_DEPTH
    for frame in stack(start):
        kind = frames.kind_of(frame)
        if kind in _ENDS or not left:
            break
        if kind == frames.APPLICATION:
            left -= 1
            found += _around(frame)
        elif kind == frames.THIRD_PARTY:
            theirs += [each for each in _around(frame) if each.is_of_objects]
        elif kind == frames.TEMPLATE_NODE and type(frame.f_locals.get("self")).__name__ == "ForNode":
            node = call_site.template_line(frame)
            found += [LoopAround(node)] if node is not None else []
    return tuple(dict.fromkeys(found or theirs))


def _around(frame: FrameType) -> Iterator[LoopAround]:
    for each in loops.around(frame):
        is_of_objects = each.is_for and any(map(_is_model, each.values(frame)))
        yield LoopAround(call_site.line_at(frame, each.start), is_of_objects)


def is_recursive(query: Query) -> bool:
    """Whether one function of the application is on the stack twice."""
    seen: set[int] = set()
    for frame in application_frames(query):
        if id(frame.f_code) in seen:
            return True
        seen.add(id(frame.f_code))
    return False


def is_walk(query: Query, facts: Facts) -> bool:
    """Whether a relation is followed from one row to the next of its own table, and on."""
    owner, target = facts.owner, facts.model
    if target is None or not (issubclass(owner, target) or issubclass(target, owner)):
        return False
    if is_recursive(query):
        return True
    found = innermost_loop(query)
    return found is not None and not found[1].is_for


def is_of_objects(query: Query) -> bool:
    """Whether a list of keys is asked for on behalf of one object after the other, and not batch by batch."""
    innermost = None
    for frame in stack(query.frame):
        kind = frames.kind_of(frame)
        if kind in _ENDS or kind in _ROWS:
            break
        if kind == frames.APPLICATION:
            loop = loops.innermost(frame)
            if loop is not None:
                return loop.is_for and any(map(_is_object, loop.values(frame)))
            innermost = innermost or frame
    # A function that is called for each row by a library: map(), a template, a serializer.
    return innermost is not None and any(map(_is_model, _arguments(innermost)))


def _is_object(value: Any) -> bool:
    kind = type(value)
    return kind is str or (kind is dict and all(type(key) is str for key in value)) or _is_model(value)


def _is_model(value: Any) -> bool:
    return orm_frames.is_model(type(value))


def _arguments(frame: FrameType) -> list[Any]:
    code, held = frame.f_code, frame.f_locals
    return [held[name] for name in code.co_varnames[: code.co_argcount] if name in held]
