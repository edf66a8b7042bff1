"""A span that is over when it is made, with nothing below it: a query, an operation on a cache.

What such a span says is known at once, and most of it is what others of its kind have said before. It has the layout of
a light span, of which only what differs is filled in; whoever reads anything else of it, or writes on it, finds a light
span from then on, the identical object.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanKind

from clew.spans import local_spans, scope
from clew.spans.identity import StaticAttributes
from clew.spans.light_span import LightSpan


class Kind:
    """What all leaves of one kind have in common.

    Args:
        scope: the seam's instrumentation scope.
        name: theirs.
        kind: theirs.
        static: the attributes they all have.
    """

    __slots__ = ("encoded", "kind", "name", "scope", "static")

    def __init__(self, scope: InstrumentationScope, name: str, kind: SpanKind, static: StaticAttributes) -> None:
        self.scope, self.name, self.kind, self.static = scope, name, kind, static
        # Their kind, name and attributes as bytes; None: encoded at first use.
        self.encoded: bytes | None = None


class Leaf(LightSpan):
    """A span that waits in its parent, as a light one does, until that ends or an equal comes.

    Args:
        above: the recording light span it is below.
        like: what it is one of.
        attributes: its own, besides; owned by it from now on.
        start_ns, end_ns: when it began and ended.
    """

    __slots__ = ()

    def __init__(self, above: LightSpan, like: Kind, attributes: dict[str, Any], start_ns: int, end_ns: int) -> None:
        self.above, self.like, self.held = above, like, attributes
        self.start_time, self.end_time = start_ns, end_ns
        self.pipeline, self.trace, self.name = above.pipeline, above.trace, like.name
        self.folded = self.folds = None
        self.findings = ()

    def __getattr__(self, name: str) -> Any:
        self._become_light()
        return getattr(self, name)

    @property
    def span(self) -> LightSpan:
        """The span itself, for whoever is about to say something on it."""
        self._become_light()
        return self

    def _become_light(self) -> None:
        above, like, end_time, folded, said = self.above, self.like, self.end_time, self.folded, self.findings
        self.__class__ = LightSpan  # type: ignore[assignment]
        ids = getattr(self, "span_id", b""), getattr(self, "parent_id", b"")
        LightSpan.__init__(
            self,
            *(self.pipeline, like.scope, like.name, self.trace, above, None, None),
            *(self.held, like.kind, like.static, self.start_time),
        )
        self.span_id, self.parent_id = ids
        self.end_time, self.folded, self.findings = end_time, folded, said

    def _end_with(self, ended: list[LightSpan]) -> None:
        above, pipeline = self.above, self.pipeline
        if above is None or self.findings or above.children > pipeline.max_spans_per_parent:
            self._become_light()
            self._end_with(ended)
            return
        self.parent_id = above.span_id or above.identify()
        self.above = None
        self.span_id = pipeline.new_id()
        ended.append(self)


def leave(
    above: LightSpan, key: Any, like: Kind, attributes: dict[str, Any], start_ns: int, end_ns: int
) -> Leaf | None:
    """Make a span that is over, below a recording light one, where it waits for its equals (same `key`).

    Returns:
        The span; None where it has to be opened as any other (there is an equal, a processor wants to know of its
        start, a limit is reached).
    """
    pipeline = above.pipeline
    pipeline.notice()
    if not pipeline.takes_leaves or pipeline is not scope.pipeline():
        return None
    folds = above.folds
    if folds is None:
        folds = above.folds = {}
    elif key in folds or len(folds) >= pipeline.max_folds:
        return None
    local = local_spans.current()
    if local is not None:
        if local.spans_left <= 0:
            return None
        local.spans_left -= 1
    above.children += 1
    folds[key] = made = Leaf(above, like, attributes, start_ns, end_ns)
    return made
