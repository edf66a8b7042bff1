"""Every span that a seam ends in a test of this process has the attributes docs/spans.md says, and no others.

A finding's sentence is the first field of its event, and no event is outside its span's time.
"""

from __future__ import annotations

import functools
import re
from typing import Any

from clew.attributes import DESCRIPTIONS, ON_ANY_SPAN, ON_ROOTS
from clew.seams import seams
from clew.spans.light_span import LightSpan
from clew.spans.pipeline import Pipeline

_OURS = re.compile(r"(clew|django|celery)\.")
_FIRST = "clew.finding.about"
_ROOTS = ("django.request", "celery.run", "celery.fate", "asgi.websocket", "asgi.http_consumer")


@functools.cache
def _pattern(seam: str, is_root: bool) -> re.Pattern[str]:
    """The names a seam's documents allow; `<alias>` and the like stand for anything."""
    names = {name for each in seams() if each.name == seam for doc in each.spans for name in doc.attributes}
    names |= {*ON_ANY_SPAN, *(ON_ROOTS if is_root else ())}
    return re.compile("|".join(re.sub("<.*?>", ".+", re.escape(name)) for name in sorted(names)))


def undocumented(span: LightSpan) -> list[str]:
    """What the span says that its seam's document does not."""
    scope = span.instrumentation_scope.name
    seam = scope.removeprefix("clew.seams.")
    if seam == scope:
        return []
    is_root = seam in _ROOTS or span.parent is None
    said = [name for name in span.attributes if name in DESCRIPTIONS or _OURS.match(name)]
    found = [f"{span.name}: {name}" for name in said if not _pattern(seam, is_root).fullmatch(name)]
    found += [f"{span.name}: {event.name} after its end" for event in span.events if event.timestamp > span.end_time]
    findings = [event for event in span.events if event.name.startswith("clew.finding.")]
    # The sentence is shown first, by viewers that sort an event's fields and by those that do not.
    shown = [
        (event.name, first) for event in findings for first in (min(event.attributes), next(iter(event.attributes)))
    ]
    return found + [f"{name}: {first}" for name, first in shown if first != _FIRST]


def watch(found: list[str]) -> Any:
    """Have what is undocumented added to `found`; returns what undoes that."""
    original = Pipeline.finish

    def finish(self: Pipeline, spans: Any) -> None:
        original(self, spans)  # before, since a leaf that is read is none any more
        for span in spans:
            found.extend(undocumented(span))

    Pipeline.finish = finish

    def undo() -> None:
        Pipeline.finish = original

    return undo
