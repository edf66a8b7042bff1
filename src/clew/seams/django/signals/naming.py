"""What a signal is called: it does not know. Asked only for what is said on a span, and kept."""

from __future__ import annotations

import functools
import sys
from types import FrameType, ModuleType
from typing import Any
from weakref import WeakKeyDictionary

from clew.source import code_location

DISPATCHER = "django.dispatch.dispatcher"
_DJANGOS = (
    "django.db.models.signals",
    "django.core.signals",
    "django.contrib.auth.signals",
    "django.db.backends.signals",
    "django.test.signals",
)
_MAX_FRAMES = 4
_names: WeakKeyDictionary[Any, str] = WeakKeyDictionary()


def signal_name(signal: Any, receiver: Any, frame: FrameType | None) -> str:
    """Under which name Django, the code that sends it, or its receiver knows a signal; "" where none does.

    Args:
        signal: Django's object.
        receiver: one of its receivers.
        frame: where in the stack it is sent.
    """
    found = _names.get(signal)
    if found is None:
        spaces = [_space(module) for module in _DJANGOS]
        spaces += [_sender(frame), getattr(code_location.unwrapped(receiver), "__globals__", {})]
        found = next(filter(None, (_name_in(space, signal) for space in spaces)), "")
        _names[signal] = found
    return found


@functools.lru_cache(maxsize=1)
def _signals(models: ModuleType | None, core: ModuleType | None) -> tuple[Any, ...]:
    """`pre_init`, `post_init`, `request_started`, `request_finished`, as far as they are there."""
    return (
        *(getattr(models, name, None) for name in ("pre_init", "post_init")),
        *(getattr(core, name, None) for name in ("request_started", "request_finished")),
    )


def kind_of(signal: Any) -> str:
    """`object` of one that is sent for each: a look is dearer than what they do; `request` of one around a request."""
    modules = sys.modules
    of_each, after_each, before, after = _signals(modules.get(_DJANGOS[0]), modules.get(_DJANGOS[1]))
    if signal is of_each or signal is after_each:
        return "object"
    return "request" if signal is before or signal is after else ""


def _space(module: str) -> dict[str, Any]:
    return getattr(sys.modules.get(module), "__dict__", {})


def _sender(frame: FrameType | None) -> dict[str, Any]:
    """The module that has called `send`."""
    for _ in range(_MAX_FRAMES):
        if frame is None or frame.f_globals.get("__name__") != DISPATCHER:
            break
        frame = frame.f_back
    return frame.f_globals if frame is not None else {}


def _name_in(space: dict[str, Any], signal: Any) -> str:
    modules = []
    for name, value in list(space.items()):
        if value is signal:
            return name
        if type(value) is ModuleType:
            modules.append(value)
    for module in modules:
        for name, value in list(vars(module).items()):
            if value is signal:
                return name
    return ""


def sender_name(sender: Any) -> str:
    """The class that sends it; "" of anything else, which is not looked at."""
    return code_location.dotted_name(sender) if issubclass(type(sender), type) else ""
