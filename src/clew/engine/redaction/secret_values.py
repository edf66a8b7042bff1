"""Where a value ends: quoted, bracketed, wrapped in a class's name, or a bare word.

What does not end is taken to the end of its line (a quote) or of the text (a bracket): rather too much than a secret's
second half, and nothing is looked at twice.
"""

from __future__ import annotations

import re

from clew.engine.redaction.text_scan import end_of_line, find, first, here

_MAX_QUOTED = 4000
_MAX_ESCAPES = 8
_MAX_REPR = 400
# YAML's text of several lines; its tags and anchors, and what PHP's dump says before a string.
_BLOCK = re.compile(r"[|>][+\-]?\n(?:[ \t]{1,40}[^\n]{0,1000}\n?){1,50}")
_TYPED = re.compile(r"(?:string\(\d{1,6}\)|!{1,2}[\w.]{1,20}|&\w{1,40}) (?=\S)")
_HEREDOC = re.compile(r"""<<[\-~]?["']?(\w{1,20})["']?\n""")
# What a key of YAML holds in the lines below: items, or keys of its own; and how a header is folded.
_LINE_BELOW = re.compile(
    r"""\r?\n([ \t]{0,80})(- {1,3})?(["']?[\w.\-]{1,80}["']?:[ \t]{0,3})?"""
    r"""(?:["'][^\n]{0,4000}|[^\s\[]\S{0,4000})?[ \t]{0,3}(?=\r?\n|\Z)"""
)
_FOLDED = re.compile(r"\r?\n[ \t]{1,20}[^\s;:]{1,4000}(?=;|\s{0,3}(?:\r?\n|\Z))")
_QUOTE = re.compile(r"""[bBrRuUfF]{0,2}(\\{0,8})(["'])""")
_BARE = re.compile(r"""[^\s&;,"'<>()\[\]{}\\]+""")
_NEXT_PAIR = re.compile(r"""[,;]\s{0,3}["']?[A-Za-z_][\w.\-]{0,60}["']?\s{0,2}[=:]""")
_IN_CONTAINER = re.compile(r"""\\{0,8}["']|[(\[{]|[)\]}]""")
_SCHEME = re.compile(r"(?:Bearer|Basic|Token|Digest|Negotiate|ApiKey|JWT)[ \t]{1,3}(?=\S)", re.IGNORECASE)


def value_end(text: str, at: int) -> int:
    """End of the value that begins there."""
    if scheme := here(_SCHEME, text, at):
        at = scheme.end()
    if typed := here(_TYPED, text, at):
        at = typed.end()
    if block := here(_BLOCK, text, at):
        return block.end() - block[0].endswith("\n")
    if heredoc := here(_HEREDOC, text, at):
        close = find(text, f"\n{heredoc[1]}", heredoc.end() - 1)
        return len(text) if close < 0 else close
    if quote := here(_QUOTE, text, at):
        return _quoted_end(text, quote.end(), quote[2], escapes=len(quote[1]))
    if text.startswith("<", at):
        close = find(text, ">", at, at + _MAX_REPR)
        return end_of_line(text, at, None if close < 0 else close + 1)
    return _bare_end(text, at)


def header_end(text: str, at: int, enclosing: str) -> int:
    """End of a header's value, which goes to the end of its line, or of the quotes that the header stands in."""
    close = find(text, enclosing, at) if enclosing else -1
    end = end_of_line(text, at, None if close < 0 else close)
    while close < 0 and end < (more := folded_end(text, end)):
        end = more
    return end


def folded_end(text: str, at: int) -> int:
    """End of a header's value that stands in the next line."""
    more = here(_FOLDED, text, at)
    return at if more is None else end_of_line(text, more.end())


def below_end(text: str, at: int, indent: int) -> int:
    """End of what stands in the lines below a key that is indented so far."""
    end = at
    while line := here(_LINE_BELOW, text, end):
        depth = len(line[1])
        is_item = line[2] is not None
        if depth < indent or (depth == indent and not is_item) or not (is_item or line[3]):
            break
        end = line.end()
    return end


def tag_end(text: str, at: int) -> int:
    """End of what an XML element holds."""
    if text.startswith("<![CDATA[", at):
        at += 1
    close = find(text, "<", at)
    return len(text) if close < 0 else close


def _quoted_end(text: str, start: int, quote: str, *, escapes: int) -> int:
    close = _closing(text, start, quote, escapes=escapes, limit=start + _MAX_QUOTED)
    return end_of_line(text, start) if close < 0 else close + 1


def _closing(text: str, start: int, quote: str, *, escapes: int, limit: int) -> int:
    """Where the quote stands that ends a string opened behind as many backslashes."""
    at = find(text, quote, start, limit)
    while at >= 0:
        count = 0
        while count < _MAX_ESCAPES and at - count > start and text[at - count - 1] == "\\":
            count += 1
        if (count <= escapes) if escapes else count % 2 == 0:
            if escapes or not text.startswith(quote, at + 1):
                return at
            at += 1
        at = find(text, quote, at + 1, limit)
    return -1


def _bare_end(text: str, at: int) -> int:
    length = len(text)
    while at < length:
        if run := here(_BARE, text, at):
            at = run.end()
            continue
        char = text[at]
        if char in "([{":
            at = _container_end(text, at)
        elif char.isspace() or char in "&<>" or not _goes_on(text, at):
            break
        else:
            at += 1
    return at


def _goes_on(text: str, at: int) -> bool:
    """Whether the value goes on behind a comma, a quote or a bracket: with a letter that begins no next pair."""
    following = text[at + 1 : at + 2]
    if text[at] == "\\":
        return following not in ("n", "r", "t", '"', "'", "")
    if not (following.isalnum() or following in ("_", "$", "!", "#", "@", "%", "*", "+")) or not following:
        return False
    return text[at] not in ",;" or here(_NEXT_PAIR, text, at) is None


def _container_end(text: str, at: int) -> int:
    depth = 0
    while token := first(_IN_CONTAINER, text, at):
        at = token.end()
        mark = token[0][-1]
        if mark in "([{":
            depth += 1
        elif mark in ")]}":
            depth -= 1
            if not depth:
                return at
        else:
            close = _closing(text, at, mark, escapes=len(token[0]) - 1, limit=at + _MAX_QUOTED)
            at = at if close < 0 else close + 1
    return len(text)
