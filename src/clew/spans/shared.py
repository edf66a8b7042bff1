"""Attributes that all spans of one kind and one line have in common, worked out and encoded once."""

from __future__ import annotations

from typing import Any

from clew.source.call_site import CallSite
from clew.spans.identity import StaticAttributes

_MAX_KNOWN = 2_000
_known: dict[Any, StaticAttributes] = {}


def of_line(site: CallSite | None, key: str = "", value: str = "") -> StaticAttributes:
    """The attributes of a line, and one more where it has a value.

    Args:
        site: the line, if it is known.
        key: name of the other attribute.
        value: the other attribute; one of few.
    """
    found = _known.get((site, key, value))
    if found is None:
        if len(_known) >= _MAX_KNOWN:
            _known.clear()
        attributes = {} if site is None else site.attributes()
        found = _known[site, key, value] = StaticAttributes({**attributes, **({key: value} if value else {})})
    return found
