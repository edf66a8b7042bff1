"""How calls from one place of the code come again: a loop that goes from one object to the next, or one that has to.

Told from the live frames, once for a place. A loop that waits (polling), goes on by the last answer (pages, a crawl) or
works for one of several threads or tasks is none that could be mended.
"""

from __future__ import annotations

import dis
from types import CodeType, FrameType
from typing import NamedTuple

from clew.source import frames, loops
from clew.source.loops import Loop
from clew.source.stack import stack

WAITS = frozenset(("sleep", "wait", "asleep"))
_ENDS = (frames.VIEW, frames.MIDDLEWARE, frames.TASK, frames.HOOK, frames.SIGNAL)
_ROWS = (frames.TEMPLATE_NODE, frames.SERIALIZER_FIELDS, frames.JINJA)
_BESIDE = ("concurrent.futures.thread", "threading", "asyncio.events")
_BETWEEN = ("opentelemetry", "contextlib", "wrapt", "asgiref")
_CHUNKS = (list, tuple, set, frozenset)
_BYTES = (bytes, bytearray, memoryview)
_GENERATOR = 0x20 | 0x200


class Shape(NamedTuple):
    """How the calls of one place come again.

    Args:
        at: the application's function that has the loop, and its line; None: a library goes through the objects.
        is_of_chunks: what the loop goes through are many at a time.
        is_counting: it only counts.
        is_left_early: it may end by what a call answers.
    """

    at: tuple[CodeType, int] | None = None
    is_of_chunks: bool = False
    is_counting: bool = False
    is_left_early: bool = False


def shape_of(start: FrameType | None) -> Shape | None:
    """The shape of the calls that are made in this frame; None: they cannot be made at once."""
    seen: set[int] = set()
    client, is_in_thread = "", False
    for frame in stack(start):
        kind = frames.kind_of(frame)
        if kind == frames.APPLICATION:
            if id(frame.f_code) in seen:
                return None  # a recursion
            seen.add(id(frame.f_code))
            loop = loops.innermost(frame)
            if not WAITS.isdisjoint(frame.f_code.co_names):
                return None
            if loop is not None:
                return _of_loop(frame, loop)
        elif kind in _ROWS or kind in _ENDS:
            return Shape()
        elif kind == frames.OUTSIDE:
            return None if frame.f_globals.get("__name__") in _BESIDE else Shape()
        elif not seen and (package := _package(frame)):
            client = client or package
            if _goes_on_by_itself(frame, is_clients=package == client):
                return None
        is_in_thread = is_in_thread or kind == frames.THREAD
    # A thread's work is all there is: whoever waits for it is a task of its own.
    return None if is_in_thread else Shape()


def is_polling(start: FrameType | None) -> bool:
    """Whether a call is one of a loop that asks until the answer is another."""
    client, is_applications = "", False
    for frame in stack(start):
        kind = frames.kind_of(frame)
        if kind == frames.APPLICATION:
            is_applications = True
            loop = loops.innermost(frame)
            if not WAITS.isdisjoint(frame.f_code.co_names):
                return True
            if loop is not None:
                shape = _of_loop(frame, loop)
                return shape is None or (shape.is_counting and shape.is_left_early)
        elif kind in _ENDS or kind == frames.OUTSIDE:
            return False
        elif not is_applications and (package := _package(frame)):
            client = client or package
            if _goes_on_by_itself(frame, is_clients=package == client):
                return True
    return False


def _package(frame: FrameType) -> str:
    """Of a library's frame, its package; "" of those that only pass a call on."""
    found = str(frame.f_globals.get("__name__", "")).partition(".")[0]
    return "" if found in _BETWEEN else found


def _of_loop(frame: FrameType, loop: Loop) -> Shape | None:
    values = loop.values(frame)
    if not loop.is_for or any(type(each) in _BYTES for each in values):
        return None
    is_of_chunks = any(type(each) in _CHUNKS or type(each).__name__.endswith("QuerySet") for each in values)
    code = frame.f_code
    return Shape(
        (code, frame.f_lineno or 0),
        is_of_chunks or _slices(code, loop),
        bool(values) and all(type(each) is int for each in values),
        _is_left_early(code, loop),
    )


def _goes_on_by_itself(frame: FrameType, *, is_clients: bool) -> bool:
    """Whether a library's own code asks until it has all, or tries again."""
    code = frame.f_code
    is_asking = bool(code.co_flags & _GENERATOR) or not is_clients or not WAITS.isdisjoint(code.co_names)
    if not is_asking:
        return False
    loop = loops.innermost(frame)
    return loop is not None and (not loop.is_for or not WAITS.isdisjoint(code.co_names))


def _slices(code: CodeType, loop: Loop) -> bool:
    return any(
        each.opname in ("BINARY_SLICE", "BUILD_SLICE") or (each.opname == "LOAD_CONST" and type(each.argval) is slice)
        for each in dis.get_instructions(code)
        if loop.start <= each.offset <= loop.end
    )


def _is_left_early(code: CodeType, loop: Loop) -> bool:
    """Whether a `break` or a `return` is in it: a jump, or an end, that is not the loop's own."""
    for each in dis.get_instructions(code):
        if loop.start <= each.offset <= loop.end:
            if each.opname.startswith("RETURN_") and each.opname != "RETURN_GENERATOR":
                return True
            if "JUMP" in each.opname and each.argval > loop.end and not each.opname.startswith("FOR_ITER"):
                return True
    return False
