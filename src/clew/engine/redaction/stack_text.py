"""An exception's traceback as text: as Python prints it, but with bounded work, and without clew's own frames.

`traceback.format_exception` asks every exception of a chain for its `str()`, and the application's objects for their
`dir()` to suggest names; a stack of a thousand frames is read from the files first and cut afterwards.
"""

from __future__ import annotations

import itertools
import linecache
import os
import sys
from collections import deque
from collections.abc import Callable
from traceback import FrameSummary, StackSummary
from types import TracebackType
from typing import Any

_MAX_FRAMES = 100
_MAX_CHAIN = 8
_MAX_IN_GROUP = 8
_MAX_GROUPS = 3
_MAX_LINE = 500
_CLEW = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_DEMO = os.path.join(_CLEW, "cli", "demo_site") + os.sep
_CAUSE = "\nThe above exception was the direct cause of the following exception:\n\n"
_CONTEXT = "\nDuring handling of the above exception, another exception occurred:\n\n"

Tell = Callable[[BaseException], str]


def stack_text(error: BaseException, tell: Tell, redact: Callable[[str], str]) -> str:
    """The traceback of an exception and of those it came from, the oldest first.

    Args:
        error: the exception.
        tell: gives its last lines: class, message and notes, redacted.
        redact: what is to be done with the frames' source lines.
    """
    return _chain(error, tell, redact, _MAX_GROUPS)


def _chain(error: BaseException, tell: Tell, redact: Callable[[str], str], groups: int) -> str:
    parts: list[str] = []
    seen: set[int] = set()
    step: BaseException | None = error
    while step is not None:
        if id(step) in seen or len(seen) == _MAX_CHAIN:
            parts.append("[earlier exceptions are left out]\n")
            break
        seen.add(id(step))
        parts.append(_one(step, tell, redact, groups))
        step, how = _origin(step)
        if step is not None:
            parts.append(how)
    return "".join(reversed(parts))


def _origin(error: BaseException) -> tuple[BaseException | None, str]:
    if error.__cause__ is not None:
        return error.__cause__, _CAUSE
    return (None if error.__suppress_context__ else error.__context__), _CONTEXT


def _one(error: BaseException, tell: Tell, redact: Callable[[str], str], groups: int) -> str:
    frames, left_out = _frames(error.__traceback__)
    head = "Traceback (most recent call last):\n" if frames else ""
    note = f"  [{left_out} frames are left out]\n" if left_out else ""
    text = head + note + redact("".join(StackSummary.from_list(frames).format())) + tell(error)
    inner = getattr(error, "exceptions", None)
    if not groups or type(inner) is not tuple or not isinstance(error, _GROUP):
        return text
    for number, each in enumerate(inner[:_MAX_IN_GROUP], 1):
        lines = _chain(each, tell, redact, groups - 1).splitlines()
        text += f"  +---------------- {number} of {len(inner)} ----------------\n" + "".join(
            f"  | {line}\n" for line in lines
        )
    return text


_GROUP: Any = getattr(sys.modules["builtins"], "BaseExceptionGroup", ())


def _frames(step: TracebackType | None) -> tuple[list[FrameSummary], int]:
    """The last frames that are not clew's, and how many more there are."""
    kept: deque[TracebackType] = deque(maxlen=_MAX_FRAMES)
    count = 0
    while step is not None:
        if not _is_ours(step.tb_frame.f_code.co_filename):
            kept.append(step)
            count += 1
        step = step.tb_next
    return [_summary(each) for each in kept], count - len(kept)


def _is_ours(path: str) -> bool:
    return path.startswith("<clew") or (path.startswith(_CLEW) and not path.startswith(_DEMO))


def _summary(step: TracebackType) -> FrameSummary:
    frame, code = step.tb_frame, step.tb_frame.f_code
    linecache.lazycache(code.co_filename, frame.f_globals)
    line = linecache.getline(code.co_filename, step.tb_lineno).strip()
    place: dict[str, Any] = {"lookup_line": False}
    if len(line) > _MAX_LINE:
        # A minified file: the marks below the line would be worked out from all of it.
        place["line"] = line[:_MAX_LINE]
    elif hasattr(code, "co_positions"):
        positions = next(itertools.islice(code.co_positions(), step.tb_lasti // 2, None), None)
        if positions is not None:
            _, place["end_lineno"], place["colno"], place["end_colno"] = positions
    return FrameSummary(code.co_filename, step.tb_lineno, code.co_name, **place)
