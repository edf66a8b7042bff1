"""Which receiver of a signal the code at hand was called by: what is said of it, also on queries and publishes."""

from __future__ import annotations

import functools
from types import BuiltinFunctionType, CodeType, FunctionType, MethodType
from typing import Any, Final, NamedTuple

from clew import attributes as names
from clew.source import code_location
from clew.spans.current import get_current

_MAX_KNOWN = 2_000
# Anything else may be lazy, or answer to any name: only its class is asked.
_FUNCTIONS = (FunctionType, MethodType, BuiltinFunctionType, functools.partial)


class Receiver(NamedTuple):
    """What is said of a receiver.

    Args:
        name: its dotted name.
        short_name: as spans are named after it.
        attributes: `code.*`.
        is_djangos: it came with Django, or with clew.
    """

    name: str
    short_name: str
    attributes: dict[str, Any]
    is_djangos: bool


class Receiving:
    """A signal that is being sent."""

    __slots__ = ("receiver",)

    def __init__(self) -> None:
        # The one that is running; None between two.
        self.receiver: Any = None


# Under which the innermost is in the context.
KEY: Final = "clew-receiving"

# By the id of its code, which is held so that the id stays its own.
_known: dict[int, tuple[CodeType, Receiver]] = {}


def note_receiver(attributes: dict[str, Any]) -> None:
    """Add the name of the receiver that is running, if one is."""
    receiving = get_current().get(KEY)
    if type(receiving) is Receiving and receiving is not None and receiving.receiver is not None:
        attributes[names.DJANGO_SIGNAL_RECEIVER] = described(receiving.receiver).name


def described(receiver: Any) -> Receiver:
    """Name and attributes of a receiver."""
    if type(receiver) not in _FUNCTIONS:
        return _of_object(type(receiver))
    function = code_location.unwrapped(receiver)
    code = getattr(function, "__code__", None)
    known = _known.get(id(code))
    if known is not None:
        return known[1]
    found = _named(code_location.dotted_name(function), function, code_location.code_attributes(function))
    if type(code) is CodeType:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        _known[id(code)] = code, found
    return found


def are_all_djangos(receivers: list[Any]) -> bool:
    """Whether they are functions of Django's, and none of the site's or a library's is among them."""
    for each in receivers:
        if type(each) is not FunctionType or not str(each.__module__).startswith("django."):
            return False
    return True


def _of_object(kind: type) -> Receiver:
    attributes = code_location.code_attributes(getattr(kind, "__call__", kind))  # noqa: B004 - its code is wanted
    attributes[names.CODE_FUNCTION_NAME] = name = code_location.dotted_name(kind)
    return _named(name, kind, attributes)


def _named(name: str, target: Any, attributes: dict[str, Any]) -> Receiver:
    return Receiver(
        name, code_location.short_name(name, target), attributes, name.startswith(("django.", "clew.bootstrap."))
    )
