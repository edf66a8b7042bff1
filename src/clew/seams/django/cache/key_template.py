"""A cache key without what it is about: `user_{}` of `user_42`. The key itself, which may hold anything, is not told.

A part of a key stays where the code that asks holds it as a literal: in the module that calls, or in a function that
this module has imported. Everything else is a value, however much it looks like a word.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from types import CodeType, FrameType, FunctionType
from typing import Any

from clew.engine import isolation
from clew.source.frames import DEMO_MODULE, THREAD, kind_of
from clew.source.stack import awaiting_frames

# Whoever asks a cache is further out than these.
_BETWEEN = ("django.core.cache", "django.utils.connection", "asgiref.", "clew.", "concurrent.", "contextvars")
_RUN = re.compile(r"\w+|\W+")
_PIECE = re.compile(r"([A-Za-z]+)(\d*)")
_NAME = re.compile(r"[A-Za-z]+")
_VALUE = "{}"
_MAX_MODULES, _MAX_KEY, _MAX_FRAMES, _MAX_DEPTH = 500, 250, 30, 3
_PUNCTUATION = frozenset(":._-/|# ,;=@+")
# Letters before a number are taken for a name from this many on: single ones are as likely a part of a hash.
_MIN_LETTERS = 2

_literals: dict[str, frozenset[str]] = {}
# Of keys that are asked for again and again.
_templates: dict[tuple[Any, str], str] = {}
_MAX_TEMPLATES = 1000
_SEVERAL = re.compile(r"\{\}(?:[\-.@+_]*\{\})+")


def asking_frame(frame: FrameType | None) -> FrameType | None:
    """The frame that asked the cache, whatever of Django's and asgiref's lies between; through a thread, too."""
    for _ in range(_MAX_FRAMES):
        if frame is None:
            return None
        if kind_of(frame) == THREAD:
            return next((each for each in awaiting_frames() if not _is_between(each)), None)
        if not _is_between(frame):
            return frame
        frame = frame.f_back
    return None


def _is_between(frame: FrameType) -> bool:
    module = frame.f_globals.get("__name__", "")
    return type(module) is not str or (module.startswith(_BETWEEN) and not module.startswith(DEMO_MODULE))


def key_template(key: Any, frame: FrameType | None) -> str:
    """What may be told of a key that the code in `frame` has asked for."""
    if type(key) is not str:
        return _VALUE
    asked = (frame.f_globals.get("__name__") if frame is not None else None, key)
    found = _templates.get(asked)
    if found is None:
        literals = _literals_of(frame)
        runs = [_told(run, literals) for run in _RUN.findall(key[:_MAX_KEY])]
        found = _SEVERAL.sub(_VALUE, "".join(runs)) or _VALUE
        if len(_templates) >= _MAX_TEMPLATES:
            _templates.clear()
        _templates[asked] = found
    return found


def _told(run: str, literals: frozenset[str]) -> str:
    """Of letters, digits and underscores, what is a literal; of anything else, punctuation."""
    if not (run[0].isalnum() or run[0] == "_"):
        return "".join(each if each in _PUNCTUATION else _VALUE for each in run)
    return "_".join(_piece(each, literals) for each in run.split("_"))


def _piece(piece: str, literals: frozenset[str]) -> str:
    found = _PIECE.fullmatch(piece)
    if found is None or found[1] not in literals or (found[2] and len(found[1]) < _MIN_LETTERS):
        return _VALUE if piece else ""
    return found[1] + (_VALUE if found[2] else "")


def _literals_of(frame: FrameType | None) -> frozenset[str]:
    if frame is None:
        return frozenset()
    module = frame.f_globals.get("__name__", "")
    found = _literals.get(module)
    if found is None:
        if len(_literals) >= _MAX_MODULES:
            _literals.clear()
        try:
            found = frozenset(_in_module(frame))
        except Exception as error:  # noqa: BLE001 - a module may hold anything, and change meanwhile
            isolation.report(error, __name__)
            found = frozenset()
        _literals[module] = found
    return found


def _in_module(frame: FrameType) -> Iterator[str]:
    yield from _in_code(frame.f_code)
    module = sys.modules.get(frame.f_globals.get("__name__", ""))
    for name, value in list(vars(module).items()) if module is not None else ():
        if not name.startswith("__"):
            yield from _in_value(value)


def _in_value(value: Any) -> Iterator[str]:
    kind = type(value)
    if kind is str:
        yield from _NAME.findall(value[:_MAX_KEY])
    elif kind is FunctionType:
        yield from _in_code(value.__code__)
    elif kind in (staticmethod, classmethod):
        yield from _in_value(value.__func__)
    elif kind is property:
        yield from _in_value(value.fget)
    elif issubclass(kind, type):  # of a lazy object, `isinstance` would ask what it stands for
        for name, each in list(vars(value).items()):
            if not name.startswith("__") and not issubclass(type(each), type):
                yield from _in_value(each)


def _in_code(code: CodeType, depth: int = 0) -> Iterator[str]:
    for each in code.co_consts:
        if type(each) is str:
            yield from _in_value(each)
        elif type(each) is tuple:
            for inner in each:
                yield from _in_value(inner) if type(inner) is str else ()
        elif type(each) is CodeType and depth < _MAX_DEPTH:
            yield from _in_code(each, depth + 1)
