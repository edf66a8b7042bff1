"""What `clew demo` prints: the form post's whole tree, a line for each other request, and where to go from there; with
`--findings`, the tree of each page with a mistake.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from clew.cli.demo.drive import PASSWORD, USER, Step
from clew.cli.demo.spans import FORM, findings
from clew.cli.terminal import Segment, Terminal, cells, say
from clew.cli.view.details import code_line, duration_text
from clew.cli.view.span_record import SpanRecord
from clew.cli.view.tree import format_trace

_PAGES = "clew/cli/demo_site/mistakes"
_WIDE = 500
_JAEGER = "http://localhost:16686"


class Show:
    """Writes to stdout what was asked for, to stderr how it goes."""

    def __init__(self) -> None:
        # Two, so that `clew demo > file` keeps the traces and nothing else.
        self._out, self._err = Terminal.of(sys.stdout), Terminal.of(sys.stderr)

    def progress(self, what: str, text: str) -> None:
        """A line that says how far the demo is."""
        line = self._err.paint([(f"  {what:8}", "dim"), (text, "")])
        say(line)

    def complain(self, text: str) -> None:
        """One clear line (a process's last lines may follow it)."""
        say(self._err.paint([("clew demo: ", "bold"), (text, "")]))

    def title(self, text: str) -> None:
        """A heading of the progress lines."""
        say(self._err.paint([("clew demo", "bold"), (f"  {text}", "")]))

    def traces(self, story: Sequence[tuple[Step, list[SpanRecord]]], *, everything: bool) -> None:
        """The form post as a tree, then the others.

        Args:
            story: each step with its spans.
            everything: whether the others are trees too.
        """
        steps = {(step.method, step.path): records for step, records in story}
        self._heading("A form post, followed into the worker", "and from there into the task that its task sent")
        self.tree(steps[FORM])
        others = [(step, records) for step, records in story if (step.method, step.path) != FORM]
        if everything:
            for _, records in others:
                print()
                self.tree(records)
            return
        self._heading("The rest of the visit", "`clew demo --all` shows these as trees too")
        for step, records in others:
            self._line(_row(self._out, step, records))

    def findings(self, story: Sequence[tuple[Step, list[SpanRecord]]]) -> list[str]:
        """Each page's trace with what clew found on it, then all findings in short.

        Args:
            story: each step with its spans.

        Returns:
            The findings that should be there and are not.
        """
        for step, records in story:
            if step.mistake is not None:
                self._heading(step.mistake.finding, f"{step.mistake.title}: {step.mistake.shows}")
                self.tree(records)
        self._heading("What clew found", f"the pages are in {_PAGES}")
        found = {step: _found(step, records) for step, records in story}
        for step, what in found.items():
            self._line(_finding_row(self._out, step, what))
        return [step.mistake.finding for step, what in found.items() if step.mistake and not what]

    def stories(self, story: Sequence[tuple[Step, list[SpanRecord]]]) -> list[str]:
        """Each question with the trace that answers it, and the answer.

        Args:
            story: each step with its spans; those that follow each other may be of one question.

        Returns:
            What no trace says, in words.
        """
        absent = []
        for told, asked in itertools.groupby(story, key=lambda each: each[0].story):
            traces = [records for _, records in asked]
            found = next((each for each in traces if _says(each, told.says)), None)
            self._heading(told.question)
            self.tree(found or traces[0])
            mark = self._out.glyphs.reason
            for line in self._out.wrap(told.answer, self._out.width - len(mark) - 1, 5):
                self._line([(f"{mark} ", "fix"), (line, "bold")])
                mark = " " * len(mark)
            if found is None:
                absent.append(f"no trace says {' and '.join(told.says)}, which answers: {told.question}")
        return absent

    def tree(self, records: Sequence[SpanRecord], known: dict[str, dict[str, str]] | None = None) -> None:
        """Spans as a tree."""
        screen = self._out
        lines = format_trace(records, color=screen.color, width=screen.width, ascii_only=screen.ascii_only, known=known)
        print("\n".join(lines), flush=True)

    def next_steps(self, forwarded: str) -> None:
        """How to see the same elsewhere.

        Args:
            forwarded: the endpoint the spans were sent to, "" if none.
        """
        self._heading("What next")
        if forwarded:
            self._line([(f"  {'sent on to':18}", "dim"), (forwarded, "link"), (": look for demo-web there", "")])
        for what, how, aside in (
            ("what clew finds", "clew demo --findings", "a page for each mistake, its line, and how to mend it"),
            ("what it answers", "clew demo --stories", "why a view never ran, a login fails, a page is slow"),
            ("in Jaeger", "docker compose up --build", f"in clew's repository; then {_JAEGER}"),
            ("in a running one", "OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:4317 clew demo --keep", ""),
            ("by hand", "clew demo --keep", "click through the site; each trace appears here"),
            ("your project", "clew view", "shows the traces of what runs on this machine"),
        ):
            self._line([(f"  {what:18}", "dim"), (f"{how:27}", "bold"), (aside, "")])

    def kept(self, url: str) -> None:
        """Say where the running site is, and how to end it."""
        self._heading("The site is up", "Ctrl-C ends it")
        self._line([("  open  ", "dim"), (url, "link"), (f"   and log in as {USER} / {PASSWORD}", "")])
        self._line([("  each trace appears here when it is complete", "dim")])
        print(flush=True)

    def _heading(self, text: str, aside: str = "") -> None:
        print()
        self._line([(text, "bold"), (f"  {aside}" if aside else "", "dim")])

    def _line(self, segments: Sequence[Segment]) -> None:
        print(self._out.paint(self._out.clip(segments)), flush=True)


def _says(records: Sequence[SpanRecord], words: Sequence[str]) -> bool:
    text = "\n".join(format_trace(records, color=False, width=_WIDE, ascii_only=True))
    return all(word in text for word in words)


def _found(step: Step, records: Sequence[SpanRecord]) -> list[dict[str, Any]]:
    return findings(records, step.mistake.finding) if step.mistake is not None else []


def _finding_row(screen: Terminal, step: Step, found: Sequence[dict[str, Any]]) -> Sequence[Segment]:
    mark = (f"  {screen.glyphs.finding} ", "finding") if found else (f"  {screen.glyphs.error} ", "error")
    lead = f"{step.mistake.finding if step.mistake else '':27}{step.method:5}{step.path:22}"
    where = code_line(found[0]).rpartition("/")[2] if found else "not found"
    return [mark, (lead, ""), (screen.clean(where), "" if found else "error")]


def _row(screen: Terminal, step: Step, records: Sequence[SpanRecord]) -> Sequence[Segment]:
    root = next(record for record in records if record.kind == "SERVER")
    style = "good" if step.status < 400 else "fix" if step.status < 500 else "error"
    spans = f"{len(records)} span{'' if len(records) == 1 else 's'}"
    lead = f"  {step.method:5}{step.path:18} "
    tail = f"{duration_text(root.duration_ns, screen.glyphs.micro):>9}{spans:>10}   "
    # Last in the row, since it is what a narrow window cuts.
    told = screen.clean("; ".join(_facts(root, records)) or step.about)
    room = screen.width - cells(lead) - 3 - cells(tail)
    return [(lead, ""), (str(step.status), style), (tail, "dim"), (screen.fit(told, max(room, 0)), "")]


def _facts(root: SpanRecord, records: Sequence[SpanRecord]) -> Iterator[str]:
    if by := root.attributes.get("django.response.short_circuited_by"):
        yield f"{str(by).rpartition('.')[2]} answered, the view never ran"
    # The first is the cause; what follows was raised while it was handled.
    errors = [attributes for name, _, attributes in root.events if name == "exception"]
    for attributes in errors[:1]:
        yield f"{str(attributes.get('exception.type')).rpartition('.')[2]}: {attributes.get('exception.message')}"
    outcomes = [
        f"{record.name.rpartition(' ')[2]} {record.attributes['django.auth.outcome']}"
        for record in sorted(records, key=lambda record: record.start_ns)
        if record.name.startswith("auth backend ") and "django.auth.outcome" in record.attributes
    ]
    if outcomes:
        yield ", ".join(outcomes)
    # A form is a dozen templates of Django's own: named after the page, they are a number.
    templates = sorted((r for r in records if r.name.startswith("template ")), key=lambda record: record.start_ns)
    if templates and not (by or errors):
        count = sum(int(record.attributes.get("clew.folded.count", 1)) for record in templates) - 1
        yield templates[0].name.partition(" ")[2] + (f" and {count} templates in it" if count else "")
