"""A trace as a tree in a terminal: one line a span, with its duration, its place in time, and what went
wrong under it.

This is what `clew view`, `clew demo` and a failing test show. A person should see at a glance where the time
went, where the thread crosses into another process, and what to mend - without opening a browser.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Sequence

from clew.cli.terminal import Segment, Terminal, cells
from clew.cli.view.details import (
    detail_words,
    duration_text,
    finding_count,
    findings_of_root,
    fit_name,
    http_status,
    note_lines,
    query_totals,
    title,
)
from clew.cli.view.forest import Node, build_forest
from clew.cli.view.links import Known, LinkBook
from clew.cli.view.span_record import SpanRecord, from_otlp, from_readable

# Deeper than this the guides alone would fill the line.
MAX_DEPTH = 24
_NARROWEST = 12
MAX_LINES = 1000
MAX_CHILDREN = 30
_DURATION_WIDTH = 10
_SHORTEST_NAME = 24
_PALETTE = ("p0", "p1", "p2", "p3", "p4")


def format_trace(
    records: Iterable[SpanRecord],
    *,
    color: bool = False,
    width: int = 100,
    ascii_only: bool = False,
    known: Known | None = None,
) -> list[str]:
    """Draw one trace, or several that are linked.

    Args:
        records: spans in any order; each trace among them gets its own heading and tree, the earliest first.
        color: whether to use ANSI colours.
        width: columns a line may take (at least 40).
        ascii_only: draw with plain ASCII characters.
        known: span names of traces drawn earlier; a trace in it is headed "continued".

    Returns:
        The lines, without line ends and safe to print: foreign control characters are escaped.
    """
    traces: dict[str, list[SpanRecord]] = {}
    for record in sorted(records, key=lambda record: record.start_ns):
        traces.setdefault(record.trace_id, []).append(record)
    book = LinkBook(traces, known or {})
    terminal = Terminal(color=color, width=max(width, 40), ascii_only=ascii_only)
    lines: list[str] = []
    for spans in traces.values():
        lines += [""] if lines else []
        lines += _Painter(terminal, spans, book).draw()
    return lines


class _Painter:
    """Draws one trace; holds what its lines share: the time window, the processes' colours, the lines."""

    def __init__(self, terminal: Terminal, records: Sequence[SpanRecord], book: LinkBook) -> None:
        self.terminal, self.glyphs, self.book = terminal, terminal.glyphs, book
        self.roots = build_forest(records)
        self.records = [node.record for root in self.roots for node in root.walk()]
        self.trace_id = self.records[0].trace_id
        starts = [record.start_ns for record in self.records if record.start_ns]
        # A span without a start would stretch the window back to 1970.
        self.start = min(starts, default=0)
        self.end = max(self.start, *(max(record.end_ns, record.start_ns) for record in self.records))
        processes = dict.fromkeys(record.process for record in sorted(self.records, key=lambda r: r.start_ns))
        self.styles = {process: _PALETTE[n % len(_PALETTE)] for n, process in enumerate(processes)}
        # Under 76 columns a bar would take from the names, which say more.
        self.bar_width = 0 if terminal.width < 76 else max(16, terminal.width // 5)
        self.room = terminal.width - _DURATION_WIDTH - (self.bar_width + 2 if self.bar_width else 0)
        self.depth = min(MAX_DEPTH, (self.room - _NARROWEST) // cells(self.glyphs.rail))
        self.lines: list[str] = []
        self.said = 0

    def draw(self) -> list[str]:
        self._heading()
        shown = _first_and_notable(self.roots)
        for root in shown:
            if len(self.lines) < MAX_LINES:
                self._node(root, "", "", ("", ""), 0)
        if len(shown) < len(self.roots):
            self._hidden_line([root for root in self.roots if root not in shown], "")
        if left := len(self.records) - self.said:
            text = f"{left:,} more spans are not drawn; the trace has {len(self.records):,}"
            self._put([(f"{self.glyphs.more} {text}", "dim")])
        return self.lines

    def _put(self, segments: list[Segment]) -> None:
        self.lines.append(self.terminal.paint(self.terminal.clip(segments)))

    def _heading(self) -> None:
        words = f"trace {self.trace_id}" + (" continued" if self.book.seen_before(self.trace_id) else "")
        title: list[Segment] = [(f"{self.glyphs.rule * 2} ", "dim"), (words, "bold")]
        seconds, millis = divmod(self.start // 1_000_000, 1000)
        clock = time.strftime("%H:%M:%S", time.localtime(seconds)) + f".{millis:03d}"
        facts = self._tallies()
        room = self.terminal.width - _cells(title) - _cells(facts)
        # The trace id is never cut: it is what people paste into their backend's search.
        if room < 0:
            self._put(title)
            title, room = [(self.glyphs.rule * 2, "dim")], self.terminal.width - 2 - _cells(facts)
        # What was asked of the database gives way to what went wrong.
        if room < 0:
            facts = self._tallies(with_queries=False)
            room = self.terminal.width - 2 - _cells(facts)
        if room > len(clock) + 2:
            facts.append((f"  {clock}", "dim"))
        rule = self.glyphs.rule * (self.terminal.width - _cells(title) - _cells(facts) - 1)
        self._put([*title, *facts, (f" {rule}", "dim")])

    def _tallies(self, *, with_queries: bool = True) -> list[Segment]:
        words = [_count(len(self.records), "span")]
        if len(self.styles) > 1:
            words.append(_count(len(self.styles), "process", "es"))
        if with_queries and (queries := query_totals(self.records)):
            words.append(queries)
        facts = [("  " + duration_text(self.end - self.start, self.glyphs.micro), "")]
        facts += [(self.glyphs.dot + word, "") for word in words]
        if errors := sum(record.status == "ERROR" for record in self.records):
            facts.append((self.glyphs.dot + _count(errors, "error"), "error"))
        if findings := finding_count(self.records):
            facts.append((self.glyphs.dot + _count(findings, "finding"), "finding"))
        return facts

    def _node(self, node: Node, lead: str, under: str, process: tuple[str, str], depth: int) -> None:
        self.said += 1
        asides = self._span_line(node, lead, process)
        shown = _first_and_notable(node.children) if depth < self.depth else []
        rail = under + (self.glyphs.rail if node.children else "   ")
        for segments in [*asides, *self._notes(node, self.terminal.width - cells(rail))]:
            self._put([(rail, "dim"), *segments])
        hidden = [child for child in node.children if child not in shown]
        for child in shown:
            # What is left is counted at the end, by `draw`.
            if len(self.lines) >= MAX_LINES:
                return
            last = child is shown[-1] and not hidden
            bend, rest = (self.glyphs.last, "   ") if last else (self.glyphs.branch, self.glyphs.rail)
            self._node(child, under + bend, under + rest, node.record.process, depth + 1)
        if hidden:
            self._hidden_line(hidden, under)

    def _hidden_line(self, hidden: list[Node], under: str) -> None:
        count = sum(child.size for child in hidden)
        self.said += count
        kinds = Counter(child.record.name for child in hidden).most_common(3)
        what = ", ".join(f"{name} {self.glyphs.times}{times}" for name, times in kinds)
        text = self.terminal.clean(f"{self.glyphs.more} {count:,} more here: {what}")
        lead = under + self.glyphs.last
        self._put([(lead + self.terminal.fit(text, self.terminal.width - cells(lead)), "dim")])

    def _span_line(self, node: Node, lead: str, parent_process: tuple[str, str]) -> list[list[Segment]]:
        """Draw a span; what is left over for want of room is returned as lines to put under it."""
        record, room = node.record, self.room - cells(lead)
        marks, places = list(self._marks(record)), list(self._places(node, parent_process))
        # The name gives way to what must be said, but keeps enough to be recognised.
        name = self.terminal.clean(title(record)) or "(no name)"
        spare = room - _cells(marks) - min(cells(name), _SHORTEST_NAME)
        # In a narrow window a process or an orphan's reason moves under the span instead of being lost.
        inline: list[Segment] = []
        for place in places:
            if _cells([*inline, place]) <= spare:
                inline.append(place)
        name = fit_name(self.terminal, name, max(room - _cells([*marks, *inline]), 4))
        line: list[Segment] = [(name, "error" if record.status == "ERROR" else "" if lead else "bold")]
        room -= cells(name)
        line += [*marks, *inline]
        room -= _cells([*marks, *inline])
        dot = "  "
        for word in detail_words(record):
            text = dot + self.terminal.clean(word)
            if cells(text) <= room:
                line.append((text, "dim"))
                room -= cells(text)
                dot = self.glyphs.dot
        self._put([(lead, "dim"), *line, (" " * max(room, 0), ""), *self._timing(record)])
        return [[(text.strip(), style)] for text, style in places if (text, style) not in inline]

    def _timing(self, record: SpanRecord) -> Iterable[Segment]:
        duration = record.duration_ns
        # A twentieth of the trace is not where its time went: dimmed, the long ones stand out.
        short = (duration or 0) * 20 < self.end - self.start
        yield duration_text(duration, self.glyphs.micro).rjust(_DURATION_WIDTH) + "  ", "dim" if short else ""
        yield self._bar(record), "error" if record.status == "ERROR" else self.styles[record.process]

    def _marks(self, record: SpanRecord) -> Iterable[Segment]:
        folded = record.attributes.get("clew.folded.count")
        if isinstance(folded, int) and folded > 1:
            yield f" {self.glyphs.times}{folded}", "bold"
        if record.status == "ERROR":
            yield " ERROR", "error"
        if status := http_status(record):
            yield f" {status[0]}", status[1]
        if count := findings_of_root(record):
            yield f" {self.glyphs.finding}{count}", "finding"

    def _places(self, node: Node, parent_process: tuple[str, str]) -> Iterable[Segment]:
        if node.record.process != parent_process and any(node.record.process):
            service, pid = node.record.process
            label = self.terminal.clean(f"{service} pid {pid}" if pid else service)
            yield f" [{self.terminal.fit(label, self.room)}]", self.styles[node.record.process]
        if node.orphan:
            yield f" ({self._orphan_text(node)})", "dim"

    def _orphan_text(self, node: Node) -> str:
        if node.orphan == "circle":
            return "its parents form a circle"
        known = self.book.name_of(self.trace_id, node.record.parent_span_id)
        return f"under {self.terminal.clean(known)}, shown before" if known else "parent not received"

    def _bar(self, record: SpanRecord) -> str:
        whole = self.end - self.start
        if not self.bar_width or not whole or not record.start_ns:
            return ""
        # Counted in half columns, which is what the glyphs can show; a span too short for one still gets one.
        halves, length = self.bar_width * 2, max(record.end_ns - record.start_ns, 0)
        first = min(int((record.start_ns - self.start) / whole * halves), halves - 1)
        past = max(first + 1, min(round((record.start_ns - self.start + length) / whole * halves), halves))
        drawn = {(1, 1): self.glyphs.bar, (1, 0): self.glyphs.bar_left, (0, 1): self.glyphs.bar_right}
        filled = [int(first <= half < past) for half in range(halves)]
        return "".join(drawn.get(pair, " ") for pair in zip(filled[::2], filled[1::2], strict=True)).rstrip()

    def _notes(self, node: Node, width: int) -> Iterable[list[Segment]]:
        for text in self.book.texts(node.record, self.glyphs.more):
            yield [(self.terminal.fit(f"{self.glyphs.link} {self.terminal.clean(text)}", width), "link")]
        yield from note_lines(node, self.terminal, width)


def _first_and_notable(nodes: list[Node]) -> list[Node]:
    """The first of many siblings, and of the others those with an error or a finding, up to as many again."""
    if len(nodes) <= MAX_CHILDREN + 1:
        return nodes
    later = [node for node in nodes[MAX_CHILDREN:] if node.notable]
    return nodes[:MAX_CHILDREN] + later[:MAX_CHILDREN]


def _cells(segments: Sequence[Segment]) -> int:
    return sum(cells(text) for text, _ in segments)


def _count(number: int, word: str, plural: str = "s") -> str:
    return f"{number:,} {word}{'' if number == 1 else plural}"


__all__ = [
    "MAX_CHILDREN",
    "MAX_DEPTH",
    "MAX_LINES",
    "Known",
    "SpanRecord",
    "format_trace",
    "from_otlp",
    "from_readable",
]
