"""Which loop a frame of the application is in, and what it goes through, read from its bytecode.

Worked out when a detector asks, once for a code object: a query in `for post in posts` and one in `while slug_exists()`
have the same stack, and only the code tells whose the next run will be.
"""

from __future__ import annotations

import dis
import functools
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import CodeType, FrameType
from typing import Any

_MAX_NAMES = 10


# Where a handler of `try` or `with` begins, and the end of what leads to it.
Handler = tuple[int, int]


@dataclass(frozen=True)
class Loop:
    """A loop in a function.

    Args:
        start: offset of its first instruction.
        end: offset of the last jump back to it.
        is_for: `for`, or `while`.
        names: the variables a `for` sets.
        line: of a `while` whose condition comes a second time, at its end; 0: it does not.
        handlers: those of its function.
    """

    start: int
    end: int
    is_for: bool
    names: tuple[str, ...] = ()
    line: int = 0
    handlers: tuple[Handler, ...] = ()

    def is_around(self, frame: FrameType) -> bool:
        """Whether a frame is at one of its instructions."""
        at = _protected(frame.f_lasti, self.start, self.handlers)
        return self.start <= at <= self.end or (at < self.start and self.line == (frame.f_lineno or -1))

    def values(self, frame: FrameType) -> list[Any]:
        """What its variables are now; nothing of it is called."""
        held = frame.f_locals
        return [held[name] for name in self.names if name in held]


def innermost(frame: FrameType) -> Loop | None:
    """The smallest loop around the instruction a frame is at."""
    return next(iter(around(frame)), None)


def around(frame: FrameType) -> list[Loop]:
    """The loops around the instruction a frame is at, innermost first."""
    found = [each for each in _loops(frame.f_code) if each.is_around(frame)]
    return sorted(found, key=lambda each: each.end - each.start)


@functools.lru_cache(maxsize=500)
def _loops(code: CodeType) -> tuple[Loop, ...]:
    bytecode = dis.Bytecode(code)
    instructions = list(bytecode)
    handlers = _handlers(bytecode, instructions)
    ends: dict[int, int] = {}
    before = ""
    for each in instructions:
        # An `await` goes round in a loop of its own, and jumps back when it is thrown into.
        if "JUMP" in each.opname and "NO_INTERRUPT" not in each.opname and before != "CLEANUP_THROW":
            end = _protected(each.offset, each.argval, handlers)
            if each.argval <= end:
                ends[each.argval] = max(end, ends.get(each.argval, 0))
        before = each.opname
    at = {each.offset: number for number, each in enumerate(instructions)}
    found = [_loop(code, instructions, at[start], end) for start, end in ends.items() if start in at]
    return tuple(replace(each, handlers=handlers) for each in found)


def _handlers(bytecode: dis.Bytecode, instructions: list[dis.Instruction]) -> tuple[Handler, ...]:
    """The handlers, where they are after all other code: from Python 3.12 on."""
    entries: Any = getattr(bytecode, "exception_entries", ()) if sys.version_info >= (3, 12) else ()
    first = min((each.target for each in entries), default=0)
    is_of_async = {each.offset for each in instructions if each.opname in ("END_ASYNC_FOR", "CLEANUP_THROW")}
    return tuple((each.target, each.end) for each in entries if each.start < first and each.target not in is_of_async)


def _protected(offset: int, start: int, handlers: tuple[Handler, ...]) -> int:
    """The end of the `try` or `with` whose handler an offset is in, where a loop starts before it; else the offset."""
    own = max((begin for begin, _ in handlers if start < begin <= offset), default=0)
    return max((end - 1 for begin, end in handlers if begin == own), default=offset)


def _loop(code: CodeType, instructions: list[dis.Instruction], number: int, end: int) -> Loop:
    start = instructions[number].offset
    head = [each.opname for each in instructions[number : number + 3]]
    if "GET_ANEXT" in head:
        return Loop(start, end, is_for=True, names=tuple(_stored(instructions, number, is_waiting=True)))
    while instructions[number].opname == "EXTENDED_ARG":
        number += 1
    is_for = instructions[number].opname == "FOR_ITER"
    if is_for:
        return Loop(start, end, is_for=True, names=tuple(_stored(instructions, number + 1)))
    last = max(at for at, each in enumerate(instructions) if each.offset <= end)
    is_tested = any("_IF_" in each.opname for each in instructions[last - 1 : last + 1])
    return Loop(start, end, is_for=False, line=_line_of(code, end) if is_tested else 0)


def _line_of(code: CodeType, offset: int) -> int:
    return next((line or 0 for start, end, line in code.co_lines() if start <= offset < end), 0)


def _stored(instructions: list[dis.Instruction], number: int, *, is_waiting: bool = False) -> Iterator[str]:
    for each in instructions[number : number + 2 * _MAX_NAMES]:
        if each.opname.startswith("STORE_"):
            is_waiting = False
            # From 3.13 on one instruction stores two, or stores one and loads one.
            names = each.argval if type(each.argval) is tuple else (each.argval,)
            yield from names[: each.opname.count("STORE")]
            if "LOAD" in each.opname:
                return
        elif not is_waiting and not each.opname.startswith(("UNPACK_", "EXTENDED_ARG")):
            return
