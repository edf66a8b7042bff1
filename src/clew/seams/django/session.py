"""`session load`, `save`, `create`, `cycle_key`, `flush`: what a session costs, with the queries or cache below it.

We stand at the methods of the class of the site's sessions, found when the first one is made: engines overwrite them,
and a site's own engine is seen too. A session's key and what is in it are never looked at.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar
from typing import Any

from clew import attributes as names
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.source.call_site import barren_frame, call_site
from clew.spans import shared
from clew.spans.scope import OpenSpan, Scope
from clew.story import local_trace
from clew.story.session_use import note_session_use

SCOPE = Scope(__name__)
_OPERATIONS = ("load", "save", "create", "cycle_key", "flush")
_BASE = "django.contrib.sessions.backends.base"
# What an engine's method asks of the one it overwrites is no second one.
_operation: ContextVar[str] = ContextVar("clew_session_operation", default="")
# Who patches a method; of two threads that make the first session at once, one.
_patched: dict[tuple[type, str], object] = {}
_known: set[type] = set()


def _operation_named(name: str) -> Around:
    span_name = f"session {name}"

    def open_operation(session: Any, /, caller: Any) -> tuple[OpenSpan, str] | None:
        outer = _operation.get()
        if outer == name:
            return None
        local = local_trace.current()
        if local is not None and name != "load":
            note_session_use(local, name)
        span = SCOPE.open(span_name)
        if span is None:
            return None
        _operation.set(name)
        site = call_site(caller, barren_frame(span.above))
        span.share(shared.of_line(site, names.DJANGO_SESSION_ENGINE, type(session).__module__))
        if site is None:
            span.barren = id(caller)
        return span, outer

    def note_operation(opened: tuple[OpenSpan, str], result: Any) -> None:
        if name == "load" and type(result) is dict:
            opened[0].note(names.DJANGO_SESSION_EMPTY, not result)

    def close_operation(opened: tuple[OpenSpan, str], error: BaseException | None) -> None:
        _operation.set(opened[1])
        opened[0].close(error)

    return Around(open_operation, note_operation, close=close_operation)


_AROUND = {name: _operation_named(name) for name in _OPERATIONS}


def _stand_at(session: Any, /) -> None:
    kind = type(session)
    if kind in _known:
        return
    _known.add(kind)
    base = sys.modules[_BASE].SessionBase
    for each in kind.__mro__[: kind.__mro__.index(base) + 1]:
        for name in _OPERATIONS:
            for method in (name, f"a{name}"):
                is_replaced = each is not base or name in ("cycle_key", "flush")
                if is_replaced and method in vars(each) and _patched.setdefault((each, method), own := object()) is own:
                    SEAM.patch_attribute(each, method, _AROUND[name])


def _reset() -> None:
    _known.clear()
    _patched.clear()


SEAM = Seam(
    "django.session",
    patches=(Patch(_BASE, "SessionBase.__init__", Around(_stand_at)),),
    spans=tuple(
        SpanDoc(
            f"session {name}",
            "INTERNAL",
            where,
            (
                names.DJANGO_SESSION_ENGINE,
                *((names.DJANGO_SESSION_EMPTY,) if name == "load" else ()),
                *names.CODE,
            ),
        )
        for name, where in (
            ("load", "a session is read; the line is the one that first touched it"),
            ("save", "it is stored, at the end of a request that has changed it, or of each"),
            ("create", "a new one gets a key and is stored"),
            ("cycle_key", "it gets a new key, at a login"),
            ("flush", "it is deleted, at a logout"),
        )
    ),
    on_uninstall=_reset,
)
