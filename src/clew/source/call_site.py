"""Where a query was run: the line of the application, or of the template.

Everything is read from the live frames while the query is being made; no ORM function is patched. A walk to the first
line of the application costs a microsecond, and less where the last run of the query came the same way.
"""

from __future__ import annotations

import os
import sys
from types import FrameType, TracebackType
from typing import Any

from clew import attributes as names
from clew.engine import needs
from clew.source import frames
from clew.source.frames import APPLICATION, FIRST_END, JINJA, OURS, TEMPLATE_NODE, THIRD_PARTY, THREAD, kind_of
from clew.source.owners import owner_of
from clew.source.stack import MAX_FRAMES, awaiting_frames

_MAX_LINES = 10_000

needs.declare(
    __name__,
    *needs.inside("django.template.base", "Parser.extend_nodelist", "origin", "token"),
    *needs.inside("jinja2.environment", "Template._from_namespace", "__jinja_template__"),
    *needs.functions("jinja2.environment", "Template.get_corresponding_lineno"),
    consequence="queries in templates are told without the template's line",
)


class CallSite:
    """A line of the application or of a template; the same object each time it is found.

    Args:
        path: its file.
        line: its number, from 1.
        function: qualified name of the function; "" in a template.
        held: keeps the code object alive whose id found it.
    """

    __slots__ = ("_held", "function", "is_applications", "line", "path", "what")

    def __init__(self, path: str, line: int, function: str, held: Any = None) -> None:
        self.path = path
        self.line = line
        self.function = function
        self._held = held
        # Of a template: whether it is one of the application's.
        self.is_applications = True
        # Of a class: which, and its field.
        self.what = ""

    def attributes(self) -> dict[str, Any]:
        """The `code.*` attributes."""
        found: dict[str, Any] = {names.CODE_FILE_PATH: self.path, names.CODE_LINE_NUMBER: self.line}
        if self.function:
            found[names.CODE_FUNCTION_NAME] = self.function
        return found

    def __str__(self) -> str:
        return f"{self.path}:{self.line}"

    @property
    def short(self) -> str:
        """The file's last two parts and the line: enough for a sentence."""
        place = f"{'/'.join(self.path.replace(os.sep, '/').split('/')[-2:])}:{self.line}"
        return f"{place} ({self.what})" if self.what else place


_template_lines: dict[tuple[str, int], CallSite] = {}
_lines: dict[int, CallSite] = {}
_owners: dict[tuple[str, int, str], CallSite] = {}


def call_site(frame: FrameType | None, barren: int = 0) -> CallSite | None:
    """The innermost line of the application, or of a template of its; failing that, the class of the application's
    that a library works for, or the third-party library's line.

    Args:
        frame: where to begin, outwards.
        barren: see `barren_frame`.
    """
    return searched(frame, barren)[0]


def barren_frame(span: Any) -> int:
    """Id of the frame on this thread's stack beyond which a search has found nothing; 0 where none is known.

    A session that is loaded below `request.user`, and its query, would go all the way that was gone for the user.

    Args:
        span: the current one.
    """
    barren = getattr(span, "barren", 0)
    return barren if barren and span.end_time is None else 0


def searched(
    frame: FrameType | None, barren: int = 0, *, is_asked_again: bool = False
) -> tuple[CallSite | None, Trail | None]:
    """The `call_site`, and, for who `is_asked_again`, how to find it; None where it is found by what frames hold."""
    start, library, extends, depth, is_plain = frame, None, None, -1, True
    kinds = frames.KINDS
    while frame is not None:
        kind = kinds.get(id(frame.f_code))
        if kind is None:
            kind = frames.learn(frame)
        if kind:
            if kind == APPLICATION:
                site = _line(frame)
                is_plain = is_asked_again and is_plain and depth >= 0 and start is not None
                return site, Trail(start, depth, frame, site) if is_plain else None  # type: ignore[arg-type]
            if kind in (TEMPLATE_NODE, JINJA):
                written = template_line(frame) if kind == TEMPLATE_NODE else _jinja_line(frame)
                # Where it extends a library's, no line of its own is at work.
                if written is None or (written.is_applications and not _is_extends(frame)):
                    return written, None
                extends = extends or (written if written.is_applications else None)
                is_plain = False
            elif kind == THIRD_PARTY:
                library = library or frame
            elif kind >= FIRST_END:
                if kind == THREAD and (awaiting := _awaiting_site()) is not None:
                    return awaiting, None
                break
            elif kind == OURS and barren and id(frame.f_back) == barren:
                break  # the wrapper of what was searched for already
        depth += 1
        frame = frame.f_back
    return (_owner_site(start, frame) or extends or (_line(library) if library is not None else None)), None


def _is_extends(frame: FrameType) -> bool:
    return type(frame.f_locals.get("self")).__name__ == "ExtendsNode"


def _owner_site(start: FrameType | None, end: FrameType | None) -> CallSite | None:
    found = owner_of(start, end)
    if found is None:
        return None
    site = _owners.get(found)
    if site is None:
        if len(_owners) >= _MAX_LINES:
            _owners.clear()
        site = _owners[found] = CallSite(*found)
        site.what = ".".join(found[2].split(".")[-2:])
    return site


class Trail:
    """How the application's line was found the last time a query was run, so that it is found at once the next time.

    Args:
        start: where the search began.
        depth: frames from there to the one the application called.
        caller: the application's frame.
        site: its line.
    """

    __slots__ = ("_called", "_called_at", "_caller", "_caller_at", "_epoch", "_middle", "depth", "half_way", "site")

    def __init__(self, start: FrameType, depth: int, caller: FrameType, site: CallSite) -> None:
        self.depth, self.half_way, self.site = depth, depth // 2, site
        self._caller, self._caller_at = caller.f_code, caller.f_lasti
        called = start
        for step in range(depth + 1):
            if step == self.half_way:
                self._middle = called.f_code
            self._called, self._called_at = called.f_code, called.f_lasti
            called = called.f_back or caller
        self._epoch = frames.epoch

    def leads_to(self, called: FrameType, middle: FrameType) -> bool:
        """Whether the same line of the application has called the same, which is as far inside as it was then."""
        caller = called.f_back
        return (
            caller is not None
            and called.f_code is self._called
            and caller.f_code is self._caller
            and called.f_lasti == self._called_at
            and caller.f_lasti == self._caller_at
            and middle.f_code is self._middle
            and self._epoch is frames.epoch
        )


def site_by_trail(
    start: FrameType | None, depth: int, trail: Trail | None, barren: int
) -> tuple[CallSite | None, Trail | None]:
    """The `call_site`, and the way to it.

    Args:
        start: where to begin, outwards.
        depth: of `start`, below the caller.
        trail: the way a run of the same query took before.
        barren: see `barren_frame`.
    """
    if trail is not None:
        depth += 1
        try:
            called, middle = sys._getframe(depth + trail.depth), sys._getframe(depth + trail.half_way)
        except ValueError:
            return searched(start, barren, is_asked_again=True)  # the stack is not that deep
        if trail.leads_to(called, middle):
            return trail.site, trail
    return searched(start, barren, is_asked_again=True)


def raised_at(traceback: TracebackType | None) -> CallSite | None:
    """The innermost line of the application an exception came through."""
    found = None
    for _ in range(MAX_FRAMES):
        if traceback is None:
            break
        if kind_of(traceback.tb_frame) == APPLICATION:
            found = traceback
        traceback = traceback.tb_next
    if found is None:
        return None
    code, module = found.tb_frame.f_code, found.tb_frame.f_globals.get("__name__", "")
    return CallSite(code.co_filename, found.tb_lineno, f"{module}.{getattr(code, 'co_qualname', code.co_name)}")


def _awaiting_site() -> CallSite | None:
    for frame in awaiting_frames():
        if kind_of(frame) == APPLICATION:
            return _line(frame)
    return None


def line_at(frame: FrameType, offset: int) -> CallSite:
    """The line of one instruction of a frame's function."""
    lines = ((line or 0) for start, end, line in frame.f_code.co_lines() if start <= offset < end)
    return _line(frame, offset, next(lines, 0))


def _line(frame: FrameType, offset: int = -1, line: int = 0) -> CallSite:
    code = frame.f_code
    key = id(code) ^ (frame.f_lasti if offset < 0 else offset) << 48
    found = _lines.get(key)
    if found is None:
        if len(_lines) >= _MAX_LINES:
            _lines.clear()
        function = getattr(code, "co_qualname", code.co_name)  # co_qualname: from Python 3.11 on
        module = frame.f_globals.get("__name__", "")
        name = f"{module}.{function}" if module else function
        found = _lines[key] = CallSite(code.co_filename, line or frame.f_lineno or code.co_firstlineno, name, code)
    return found


def template_line(frame: FrameType) -> CallSite | None:
    """The line of the template whose node a frame renders."""
    node = frame.f_locals.get("self")
    origin, token = getattr(node, "origin", None), getattr(node, "token", None)
    name = getattr(origin, "name", None)
    if not isinstance(name, str):
        return None
    return _in_template(str.__str__(name), getattr(token, "lineno", 0) or 0)


def _in_template(path: str, line: int) -> CallSite:
    found = _template_lines.get((path, line))
    if found is None:
        if len(_template_lines) >= _MAX_LINES:
            _template_lines.clear()
        found = _template_lines[path, line] = CallSite(path, line, "")
        # One that is made from a string has no file, and is as good as the code that makes it.
        found.is_applications = not os.path.isabs(path) or frames.is_application(path)
    return found


def _jinja_line(frame: FrameType) -> CallSite:
    template = frame.f_globals.get("__jinja_template__")
    line = frame.f_lineno or 1
    try:
        line = template.get_corresponding_lineno(line)  # type: ignore[union-attr]
    except Exception:  # noqa: BLE001 - a template without its debug information: the compiled line
        pass
    return _in_template(str(getattr(template, "filename", None) or frame.f_code.co_filename), line)
