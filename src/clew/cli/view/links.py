"""What a span's links mean, said in words: its publish, an earlier try, the trace in which a task goes on.

Jaeger shows a link as a bare reference and cannot list the way back; here both ends name each other as far as
they were seen.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from clew.cli.view.span_record import SpanRecord

Known = Mapping[str, Mapping[str, str]]
"""Span names by trace id and span id, of spans shown earlier."""

_KIND = "clew.link"
_MOST_LINKS = 5
_MOST_ATTRIBUTES = 2


class LinkBook:
    """Knows the names of the spans that links and parents point at.

    Args:
        traces: the spans at hand, by trace id.
        known: names of spans that were shown earlier.
    """

    def __init__(self, traces: Mapping[str, Sequence[SpanRecord]], known: Known) -> None:
        self._known = known
        self._names = {trace: {span.span_id: span.name for span in spans} for trace, spans in traces.items()}
        # Backends list links from the linking end only; the way there is found here.
        self._followers = {
            (trace, span): record
            for spans in traces.values()
            for record in spans
            for trace, span, _ in record.links
            if trace != record.trace_id
        }

    def seen_before(self, trace_id: str) -> bool:
        """Whether a part of this trace was shown earlier."""
        return trace_id in self._known

    def name_of(self, trace_id: str, span_id: str) -> str | None:
        """The name of a span at hand or shown earlier, None if it was not received."""
        found = self._names.get(trace_id, {}).get(span_id)
        return found or self._known.get(trace_id, {}).get(span_id)

    def texts(self, record: SpanRecord, more: str) -> Iterator[str]:
        """One phrase for each link of a span, and for the trace that goes on from it.

        Args:
            record: the span.
            more: the ellipsis to shorten a trace id with.
        """
        for trace, span, attributes in record.links[:_MOST_LINKS]:
            if (trace, span) == (record.trace_id, record.parent_span_id):
                yield "linked to its publish"
                continue
            name = self.name_of(trace, span) or f"span {span}, not received"
            where = "" if trace == record.trace_id else f" (trace {trace[:8]}{more})"
            # clew says what a link leads to in an attribute; of other instrumentations' two must do.
            others = [(key, value) for key, value in attributes.items() if key != _KIND]
            why = "".join(f" {key}={value}" for key, value in others[:_MOST_ATTRIBUTES])
            kind = f"its {str(attributes[_KIND]).replace('_', ' ')} " if _KIND in attributes else ""
            if _KIND in attributes and name.startswith(f"{attributes[_KIND]} "):
                kind = ""  # the name says it
            yield f"link to {kind}{name}{where}{why}"
        if len(record.links) > _MOST_LINKS:
            yield f"and {len(record.links) - _MOST_LINKS} more links"
        if follower := self._followers.get((record.trace_id, record.span_id)):
            yield f"goes on in {follower.name} (trace {follower.trace_id[:8]}{more})"
