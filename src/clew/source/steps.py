"""The lines a query came by, told again without a walk: is each frame where it was the last time?

A template's nodes, a serializer's or form's fields, descriptors and prefetches run through one line of their library's
code each: who they are counts too.
"""

from __future__ import annotations

import functools
from collections.abc import Iterable
from types import CodeType, FrameType
from typing import Any

from clew.engine import needs, silenced
from clew.source import frames
from clew.source.frames import DESCRIPTOR, FORM_FIELDS, JINJA, OURS, SERIALIZER_FIELDS, TEMPLATE_NODE

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

# A code object and its instruction; before that of a frame that is told apart by who it is at, None and who.
Step = tuple[CodeType | None, int]


def who_of(kind: int, held: Any) -> int:
    """Who a frame of a node, field, descriptor or prefetch is at, by its variables."""
    if kind in (TEMPLATE_NODE, DESCRIPTOR):
        return id(held.get("self"))
    # By name: each row may have a serializer, a form or a Prefetch of its own.
    if kind == FORM_FIELDS:
        return hash(held.get("name"))
    if kind == SERIALIZER_FIELDS:
        return hash(getattr(held.get("field"), "__dict__", {}).get("field_name"))
    return hash((getattr(held.get("lookup"), "prefetch_to", None), held.get("level")))


def is_told_apart(kind: int) -> bool:
    """Whether frames of that kind differ by who they are at."""
    return TEMPLATE_NODE <= kind < JINJA


def are_taken(steps: Iterable[Step], start: FrameType | None, end: CodeType) -> bool:
    """Whether the frames from `start` outwards are at these steps, and then comes `end`; clew's own may be between."""
    frame: Any = start
    try:
        for code, at in steps:
            if frame.f_code is not code:
                frame = _past_ours(frame)
                if code is None:
                    if not _is_at(frame, at):
                        return False
                    continue
                if frame.f_code is not code:
                    return False
            if frame.f_lasti != at:
                return False
            frame = frame.f_back
        return frame.f_code is end or _past_ours(frame).f_code is end
    except AttributeError:
        return False  # the stack is not that deep


def _past_ours(frame: Any) -> Any:
    kinds = frames.KINDS
    while kinds.get(id(frame.f_code)) == OURS:
        frame = frame.f_back
    return frame


def _is_at(frame: FrameType, who: int) -> bool:
    kind = frames.kind_of(frame)
    return is_told_apart(kind) and who_of(kind, frame.f_locals) == who
