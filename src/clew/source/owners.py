"""Whose serializer, form, admin or view a library's code is at work for, where no line of the application is running.

`class OrderSerializer(ModelSerializer)` is all that the application says; the query is then run by the library's own
code, on an object of that class. Its line is the class's, and a serializer or form names the field it is at.
"""

from __future__ import annotations

import weakref
from types import FrameType
from typing import Any

from clew.engine import needs
from clew.source import frames
from clew.source.code_location import class_place, dotted_name
from clew.source.frames import FORM_FIELDS, SERIALIZER_FIELDS

# Of whose classes applications derive their own.
_BASES = (
    "rest_framework.",
    "django_filters.",
    "django.forms.",
    "django.contrib.admin.",
    "django.contrib.auth.",
    "django.views.generic.",
)
needs.declare(
    __name__,
    *needs.attributes("django.forms.boundfield", "BoundField", "form", "name"),
    *needs.attributes("django.forms.models", "ModelFormOptions", "formfield_callback"),
    consequence="what a template of Django's asks for a form's field is told without the form",
)
_MAX_KNOWN = 10_000
# What a frame is for the walk, by the id of its code, which `frames` keeps alive.
_MAY_HAVE_OWNER, _LAST, _END = 1, 2, 4
_states: dict[int, int] = {}
_places: weakref.WeakKeyDictionary[type, tuple[str, int]] = weakref.WeakKeyDictionary()


def owner_of(frame: FrameType | None, end: FrameType | None = None) -> tuple[str, int, str] | None:
    """File and line of the innermost class of the application that a library is at work for, and what it is called.

    Args:
        frame: where to begin, outwards; there is no line of the application before the end.
        end: where to end, at the latest; it counts.
    """
    field = ""
    while frame is not None:
        state = _states.get(id(frame.f_code))
        if state is None:
            state = _learn(frame)
        if state:
            if state & _END:
                return None
            if state & _MAY_HAVE_OWNER:
                held, kind = frame.f_locals, frames.kind_of(frame)
                owner = type(held.get("self"))
                field = _field(kind, held) or field
                path, line = _place(owner)
                if not line and (shown := _of_shown_field(held.get("self"))) is not None:
                    (owner, field), (path, line) = shown, _place(shown[0])
                if line:
                    return path, line, f"{dotted_name(owner)}.{field}" if field else dotted_name(owner)
                field = field if kind not in (SERIALIZER_FIELDS, FORM_FIELDS) else ""
            if state & _LAST:
                return None
        if frame is end:
            return None
        frame = frame.f_back
    return None


def _learn(frame: FrameType) -> int:
    if len(_states) >= _MAX_KNOWN:
        _states.clear()
    code, kind, module = frame.f_code, frames.kind_of(frame), frame.f_globals.get("__name__")
    state = _END if kind >= frames.FIRST_END and kind != frames.VIEW else _LAST if kind == frames.VIEW else 0
    is_method = code.co_argcount > 0 and code.co_varnames[0] == "self"
    if is_method and type(module) is str and module.startswith(_BASES):
        state |= _MAY_HAVE_OWNER
    _states[id(code)] = state
    return state


def _field(kind: int, held: Any) -> str:
    if kind == FORM_FIELDS:
        name = held.get("name")
    elif kind == SERIALIZER_FIELDS:
        name = getattr(held.get("field"), "__dict__", {}).get("field_name")
    else:
        return ""
    return name if type(name) is str else ""


def _of_shown_field(bound: Any) -> tuple[type, str] | None:
    """The application's form that a field is shown of, or the admin that Django has made the form for; and its name."""
    held = getattr(bound, "__dict__", {})
    form, name = type(held.get("form")), held.get("name")
    callback = getattr(getattr(form, "_meta", None), "formfield_callback", None)
    admin = type(getattr(getattr(callback, "func", None), "__self__", None))
    found = next((each for each in (*form.__mro__, admin) if _place(each)[1]), None)
    return (found, name) if found is not None and type(name) is str else None


def _place(owner: type) -> tuple[str, int]:
    """Where a class of the application is; nowhere for others."""
    found = _places.get(owner)
    if found is None:
        path, line = class_place(owner)
        found = _places[owner] = (path, line) if path and frames.is_application(path) else ("", 0)
    return found
