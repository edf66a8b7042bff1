"""Where a query was run: the line of the application, or of the template, and which place in a loop that is.

Everything is read from the live frames while the query is being made; no ORM function is patched. A walk to the first
line of the application costs a microsecond; the whole stack, which tells a loop from two lines of code, a few.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Iterator
from contextvars import ContextVar
from types import FrameType, TracebackType
from typing import Any

from clew import attributes as names
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
    THIRD_PARTY,
    THREAD,
    kind_of,
)
from clew.source.owners import owner_of

_MAX_FRAMES = 300
_MAX_LINES = 10_000
_VIEW_SEAM, _WRAPPER = "clew.seams.django.view", "clew.engine.wrapper"
_PHASES = {
    frames.TEMPLATE_NODE: "template",
    frames.TEMPLATE: "template",
    frames.JINJA: "template",
    frames.SERIALIZER: "serializer",
    frames.SERIALIZER_FIELDS: "serializer",
    frames.SIGNAL: "signal",
    frames.HOOK: "hook",
    frames.VIEW: "view",
    frames.MIDDLEWARE: "middleware",
    frames.TASK: "task",
}

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
needs.declare(
    __name__,
    *needs.inside("django.template.base", "Parser.extend_nodelist", "origin", "token"),
    *needs.inside("jinja2.environment", "Template._from_namespace", "__jinja_template__"),
    *needs.functions("jinja2.environment", "Template.get_corresponding_lineno"),
    consequence="queries in templates are told without the template's line",
)
needs.declare(
    __name__,
    *needs.inside(frames.HANDLERS, "BaseHandler._get_response", "wrapped_callback"),
    *needs.inside(frames.HANDLERS, "BaseHandler._get_response_async", "wrapped_callback"),
    consequence="queries of views are told as middleware's",
)

# The frames that wait for the thread this runs in (seams/django/async_bridge.py).
AWAITING: ContextVar[tuple[FrameType, ...]] = ContextVar("clew_awaiting", default=())


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
_places: dict[int, int] = {}


def stack(frame: FrameType | None, *, with_ours: bool = False) -> Iterator[FrameType]:
    """The frames from `frame` outwards, through a thread to the coroutines that wait for it; without clew's own."""
    left = _MAX_FRAMES
    while frame is not None and left:
        kind = kind_of(frame)
        if kind != OURS:
            left -= 1
        if kind != OURS or with_ours:
            yield frame
        if kind == THREAD:
            yield from awaiting_frames()
            return
        frame = frame.f_back


def awaiting_frames() -> tuple[FrameType, ...]:
    """Frames of the coroutines that wait for this thread, innermost first."""
    return AWAITING.get()


def waiting_from(frame: FrameType | None) -> tuple[FrameType, ...]:
    """The same, told by the event loop's thread before it waits: later they may be suspended, or not yet."""
    found: list[FrameType] = []
    while frame is not None and frame.f_globals.get("__name__") != "asyncio.events" and len(found) < _MAX_FRAMES:
        found.append(frame)
        frame = frame.f_back
    return tuple(found)


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


def searched(frame: FrameType | None, barren: int = 0) -> tuple[CallSite | None, Trail | None]:
    """The `call_site`, and how to find it again; None where it is found by what frames hold."""
    start, library, depth, is_plain = frame, None, -1, True
    kinds = frames.KINDS
    while frame is not None:
        kind = kinds.get(id(frame.f_code))
        if kind is None:
            kind = frames.learn(frame)
        if kind:
            if kind == APPLICATION:
                site = _line(frame)
                is_plain = is_plain and depth >= 0 and start is not None
                return site, Trail(start, depth, frame, site) if is_plain else None  # type: ignore[arg-type]
            if kind in (TEMPLATE_NODE, JINJA):
                written = template_line(frame) if kind == TEMPLATE_NODE else _jinja_line(frame)
                if written is None or written.is_applications:
                    return written, None
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
    return (_owner_site(start, frame) or (_line(library) if library is not None else None)), None


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
            return searched(start, barren)  # the stack is not that deep
        if trail.leads_to(called, middle):
            return trail.site, trail
    return searched(start, barren)


def raised_at(traceback: TracebackType | None) -> CallSite | None:
    """The innermost line of the application an exception came through."""
    found = None
    for _ in range(_MAX_FRAMES):
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
    if type(name) is not str:
        return None
    return _in_template(name, getattr(token, "lineno", 0) or 0)


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
                if inner.f_code is not code or (kind and _who(kind, inner.f_locals) != who):
                    return False
        except ValueError:
            return False  # the stack is not that deep
        for code, at, kind, who in self._outer:
            if frame is None or frame.f_lasti != at or frame.f_code is not code:
                return False
            if kind and _who(kind, frame.f_locals) != who:
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
        who = _who(kind, frame.f_locals) if is_told_apart else 0
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
            named = _who(kind, frame.f_locals)
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
    if len(_places) >= _MAX_LINES:
        _places.clear()
    cells = [
        (code, frames.first_cell(code, at) if code else at) for code, at in zip(walked[::2], walked[1::2], strict=True)
    ]
    found = _places[key] = hash(tuple(dict.fromkeys(cells)))
    return found


def _who(kind: int, held: Any) -> int:
    if kind in (TEMPLATE_NODE, DESCRIPTOR):
        return id(held.get("self"))
    # By name: each row may have a serializer, a form or a Prefetch of its own.
    if kind == FORM_FIELDS:
        return hash(held.get("name"))
    if kind == SERIALIZER_FIELDS:
        return hash(getattr(held.get("field"), "__dict__", {}).get("field_name"))
    return hash((getattr(held.get("lookup"), "prefetch_to", None), held.get("level")))


def phase(frame: FrameType | None) -> str:
    """Which part of a request or task the code runs in: the innermost that can be told; "" when none can."""
    for each in stack(frame, with_ours=True):
        kind = kind_of(each)
        if kind == OURS and _seam_of(each) == _VIEW_SEAM:
            return _PHASES[frames.VIEW]  # the only sign of it where Django runs an async view in a loop of its own
        if kind == frames.VIEW and "wrapped_callback" not in each.f_locals:
            kind = frames.MIDDLEWARE  # it is still at the middleware's `process_view`
        found = _PHASES.get(kind)
        if found is not None:
            return found
    return ""


def _seam_of(frame: FrameType) -> str:
    """The module of the seam whose function, or whose wrapper, a frame of clew's is of."""
    module: str = frame.f_globals["__name__"]
    return getattr(frame.f_locals.get("_clew_open"), "__module__", "") if module == _WRAPPER else module
