"""What a terminal can show: colours or none, box drawing or plain ASCII, and never a control character of
somebody else's.

Span names, exception messages and attributes come from requests and from other processes. Printed raw, an
escape sequence in one of them could clear the screen or fake a line of ours, so all foreign text passes
`Terminal.clean`.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TextIO

Segment = tuple[str, str]
"""A piece of a line: text that is clean already, and the name of its style."""

_STYLES = {
    "": "",
    "bold": "1",
    "dim": "2",
    "error": "1;31",
    "finding": "1;33",
    "fix": "33",
    "good": "32",
    "link": "36",
    "title": "1;7",
    "p0": "36",
    "p1": "35",
    "p2": "34",
    "p3": "32",
    "p4": "33",
}
# Control and format characters, surrogates, private and unassigned code points, line separators.
_UNSAFE = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
# An exception message may be a whole HTML page.
_LONGEST = 2000


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The drawing characters of one character set."""

    branch: str = "├─ "
    last: str = "└─ "
    rail: str = "│  "
    rule: str = "─"
    link: str = "↪"
    error: str = "✗"
    finding: str = "▲"
    times: str = "\u00d7"
    dot: str = " · "
    more: str = "…"
    micro: str = "µs"
    bar: str = "━"
    bar_left: str = "╸"
    bar_right: str = "╺"
    reason: str = "⇒"


_UNICODE = Glyphs()
_ASCII = Glyphs("|- ", "`- ", "|  ", "-", "->", "x", "!", "x", ", ", "...", "us", "=", "=", "=", "=>")


@dataclass(frozen=True, slots=True)
class Terminal:
    """How to write for one output.

    Args:
        color: whether ANSI colours are wanted.
        width: columns; a line is cut to this.
        ascii_only: whether the output's encoding lacks box drawing.
    """

    color: bool = False
    width: int = 100
    ascii_only: bool = False

    @classmethod
    def of(cls, stream: TextIO) -> Terminal:
        """Find out what `stream` can show, honouring `NO_COLOR`, `FORCE_COLOR`, `TERM=dumb` and `COLUMNS`."""
        shown = stream.isatty() and os.environ.get("TERM") != "dumb"
        color = not os.environ.get("NO_COLOR") and (shown or bool(os.environ.get("FORCE_COLOR")))
        # Without a terminal there is no width; 100 is what the tree is made for.
        width = shutil.get_terminal_size((100, 24)).columns
        return cls(color=color, width=max(width, 40), ascii_only=not _can_draw(stream))

    @property
    def glyphs(self) -> Glyphs:
        """The drawing characters this output can show."""
        return _ASCII if self.ascii_only else _UNICODE

    def clean(self, text: object) -> str:
        """Make foreign text safe: one line, control characters as `\\x1b`, a length that can be printed."""
        flat = str(text)[:_LONGEST]
        if flat.isascii() and flat.isprintable():
            return flat
        # Line breaks of a message become spaces: one thing said is one line.
        flat = " ".join(flat.split())
        safe = "".join(_escape(char) if unicodedata.category(char) in _UNSAFE else char for char in flat)
        return safe.encode("ascii", "backslashreplace").decode("ascii") if self.ascii_only else safe

    def paint(self, segments: Sequence[Segment]) -> str:
        """Join segments into a line, with colours if they are wanted and no trailing spaces."""
        if not self.color:
            return "".join(text for text, _ in segments).rstrip()
        codes = ((text, _STYLES[style]) for text, style in segments)
        return "".join(f"\x1b[{code}m{text}\x1b[0m" if code and text else text for text, code in codes).rstrip()

    def fit(self, text: str, width: int) -> str:
        """Cut clean text to `width` columns, with an ellipsis where it was cut."""
        if cells(text) <= width:
            return text
        room = width - len(self.glyphs.more)
        return _columns(text, room) + self.glyphs.more if room > 0 else ""

    def clip(self, segments: Sequence[Segment]) -> Sequence[Segment]:
        """Cut a line to the terminal's width."""
        room = self.width
        if sum(cells(text) for text, _ in segments) <= room:
            return segments
        kept = []
        for text, style in segments:
            kept.append((self.fit(text, room), style))
            room -= cells(text)
            if room <= 0:
                break
        return kept

    def wrap(self, text: str, width: int, most: int) -> list[str]:
        """Break clean text, at spaces if it can, into at most `most` lines of `width`; the last is cut."""
        lines: list[str] = []
        rest = text
        while cells(rest) > width and len(lines) < most - 1:
            head = _columns(rest, width)
            cut = head.rfind(" ") if rest[len(head) : len(head) + 1] != " " else len(head)
            cut = cut if cut > 0 else len(head)
            lines.append(rest[:cut])
            rest = rest[cut:].lstrip(" ")
        return [*lines, self.fit(rest, width)]


def say(line: str, end: str = "\n") -> None:
    """Write to stderr what is not the output asked for; a stderr that takes nothing ends nothing."""
    with contextlib.suppress(OSError):
        print(line, end=end, file=sys.stderr, flush=True)


def cells(text: str) -> int:
    """Columns that `text` takes: wide characters two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_char_cells(char) for char in text)


def _columns(text: str, width: int) -> str:
    """The beginning of `text` that takes up to `width` columns, at least one character."""
    used = 0
    for index, char in enumerate(text):
        used += cells(char)
        if used > width and index:
            return text[:index]
    return text


def _char_cells(char: str) -> int:
    if unicodedata.combining(char) or unicodedata.category(char) in ("Mn", "Me"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def _escape(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


def _can_draw(stream: TextIO) -> bool:
    try:
        "├─└│↪✗▲·…µ━╸╺".encode(stream.encoding or "ascii")
    except (UnicodeEncodeError, LookupError):
        return False
    return True
