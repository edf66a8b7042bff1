"""What is said about a span besides its name: a few telling attributes, its errors, findings and links.

A span carries dozens of attributes and a line holds a handful of words. Shown is what answers "what happened
here": the status, who answered instead of the view, how long a task waited, what a backend decided, and the
line of code.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from clew.cli.terminal import Segment, Terminal, cells
from clew.cli.view.forest import Node, exceptions
from clew.cli.view.span_record import SpanRecord
from clew.span_names import FOLDED

_FINDING = "clew.finding."
# One span may record every retry of a loop; three tell the story.
_MOST_EXCEPTIONS = 3
_SHORTEST_PATH = 12


def duration_text(nanoseconds: int | None, micro: str = "µs") -> str:
    """A duration a person reads at a glance: `812 µs`, `14.2 ms`, `1.32 s`, `4 min 5 s`.

    Args:
        nanoseconds: may be negative (clocks that disagree); None is "unfinished".
        micro: how to write microseconds.
    """
    if nanoseconds is None:
        return "unfinished"
    sign, size = ("-", -nanoseconds) if nanoseconds < 0 else ("", nanoseconds)
    # The limits are where rounding would give four digits: 999.6 µs is 1.00 ms.
    if size < 999_500:
        return f"{sign}{size / 1e3:.0f} {micro}"
    if size < 999_500_000:
        return f"{sign}{_three_digits(size / 1e6)} ms"
    if size < 119_500_000_000:
        return f"{sign}{_three_digits(size / 1e9)} s"
    minutes, seconds = divmod(round(size / 1e9), 60)
    return f"{sign}{minutes} min {seconds} s"


def _three_digits(number: float) -> str:
    if number < 9.995:
        return f"{number:.2f}"
    return f"{number:.1f}" if number < 99.95 else f"{number:.0f}"


def _milliseconds(value: Any) -> str:
    number = float(value)
    return duration_text(int(number * 1e6)) if math.isfinite(number * 1e6) else f"{number} ms"


def _unless(*usual: object, word: str = "{}") -> Callable[[Any], str]:
    return lambda value: "" if value in usual else word.format(value)


def _when_true(word: str) -> Callable[[Any], str]:
    return lambda value: word if value is True else ""


def _wait(word: str) -> Callable[[Any], str]:
    return lambda value: f"{word} {_milliseconds(value)}" if float(value) >= 1 else ""


def _by(what: str) -> Callable[[Any], str]:
    # Of a long dotted name the end tells most, and it has to fit.
    return lambda value: f"{what} by {'.'.join(str(value).split('.')[-2:])}"


def _queries(value: Any) -> str:
    return f"{value} {'query' if value == 1 else 'queries'}"


# Why a request, or a login, went another way than it should: a line of its own, since it is the answer.
_REASONS: tuple[tuple[str, Callable[[Any], str]], ...] = (
    ("django.response.short_circuited_by", _by("answered")),
    ("django.response.raised_by", _by("raised")),
    ("django.view.denied_by", _by("denied")),
    ("django.view.denied_reason", str),
    ("django.auth.reason", str),
    ("websocket.rejected_by", _by("rejected")),
    ("websocket.close.reason", str),
)
# In the order of use to a reader: what does not fit on the line is left out from the end.
_RULES: tuple[tuple[str, Callable[[Any], str]], ...] = (
    ("django.view.reached", lambda value: "view not reached" if value is False else ""),
    ("django.request.cancelled", _when_true("client went away")),
    ("clew.cancelled", _when_true("cancelled")),
    ("django.auth.outcome", str),
    ("websocket.outcome", _unless("failed")),
    ("websocket.close.code", "closed {}".format),
    ("django.auth.permission", str),
    ("django.auth.granted", lambda value: "granted" if value else "not granted"),
    ("django.auth.query_count", lambda value: _queries(value) if value else ""),
    ("cache.hit", lambda value: "hit" if value else "miss"),
    ("django.cache.key", str),
    ("django.cache.hits", "{} there".format),
    ("django.cache.misses", "{} not there".format),
    ("django.db.transaction.outcome", lambda value: str(value).replace("_", " ")),
    ("celery.outcome", _unless("succeeded", "failed", "SUCCESS", "FAILURE")),
    ("celery.queue_ms", _wait("queued")),
    ("celery.prefetch_ms", _wait("prefetched")),
    ("celery.eta_ms", _wait("eta in")),
    ("celery.retries", _unless(0, word="retry {}")),
    ("celery.eager", _when_true("eager")),
    ("celery.redelivered", _when_true("redelivered")),
    ("celery.published_in_transaction", _when_true("inside a transaction")),
    ("celery.has_consumers", lambda value: "no worker listens" if value is False else ""),
    ("celery.worker.outcome", _unless("ready")),
    ("celery.worker.pool", str),
    ("celery.worker.concurrency", "concurrency {}".format),
    ("celery.shutdown", str),
    ("celery.child.exit_reason", str),
    ("celery.child.signal", str),
    ("celery.child.task_count", lambda value: f"{value} {'task' if value == 1 else 'tasks'}"),
    ("celery.child.max_rss_bytes", lambda value: f"{value / 1e6:.0f} MB"),
    ("celery.beat.schedule", str),
    ("celery.beat.delay_ms", _wait("late by")),
    ("django.async.wait_ms", _wait("waited")),
    ("clew.db.query_count", lambda value: _queries(value) if value else ""),
    ("clew.folded.duration_ms", lambda value: f"{_three_digits(float(value))} ms in all"),
    ("django.template.query_count", lambda value: _queries(value) if value else ""),
    ("django.db.alias", _unless("default", word="on {}")),
    ("db.response.returned_rows", lambda value: f"{value} row{'' if value == 1 else 's'}"),
)


def title(record: SpanRecord) -> str:
    """What a span is called here: its name, with what it is about where the name does not say so (still raw text).

    A request without a route is called by its method alone, a driver's query by its first word.
    """
    name, attributes = record.name, record.attributes
    about = attributes.get("db.query.summary")
    if about and " " not in name and str(about).startswith(f"{name} "):
        return str(about)
    if record.kind == "SERVER" and " " not in name and not attributes.get("http.route") and "url.path" in attributes:
        return f"{name} {attributes['url.path']}"
    return name.removesuffix(FOLDED)  # the number is shown beside it


def detail_words(record: SpanRecord) -> Iterator[str]:
    """The telling attributes of a span as short words, the most telling first (still raw text)."""
    attributes = record.attributes
    for key, word in _RULES:
        if key not in attributes:
            continue
        # Other SDKs and older versions may send another type under the same name.
        try:
            said = word(attributes[key])
        except (TypeError, ValueError):
            said = f"{key}={attributes[key]}"
        if said:
            yield said
    route, about = attributes.get("http.route"), attributes.get("db.query.summary")
    if route and str(route) not in record.name:
        yield str(route)
    if about and str(about).partition(" ")[0] != record.name.partition(" ")[0]:
        yield str(about)
    if where := code_line(attributes):  # a template's span has no line, and its name in its own
        # The last two parts tell files apart (shop/views.py) without taking the whole line.
        yield "/".join(where.split("/")[-2:])


def http_status(record: SpanRecord) -> Segment | None:
    """The HTTP status with a style that says whether it is a good one."""
    status = record.attributes.get("http.response.status_code", record.attributes.get("http.status_code"))
    if not isinstance(status, int):
        return None
    return str(status), "good" if status < 400 else "fix" if status < 500 else "error"


def note_lines(node: Node, terminal: Terminal, width: int) -> Iterator[list[Segment]]:
    """What is wrong at a span: its exceptions and findings, as lines to put under it.

    Args:
        node: the span; an exception that a span below already shows is not repeated.
        terminal: makes the text safe.
        width: columns a line may take.
    """
    yield from _reason_lines(node.record.attributes, terminal, width)
    yield from _error_lines(node, terminal, width)
    for name, _, attributes in node.record.events:
        if name.startswith(_FINDING):
            yield from _finding_lines(attributes, terminal, width)


def finding_count(records: Iterable[SpanRecord]) -> int:
    """How many findings these spans carry; where the request's or task's own is there, as many as that says."""
    held = list(records)
    said = sum(map(findings_of_root, held))
    return said or sum(event[0].startswith(_FINDING) for record in held for event in record.events)


def query_totals(records: Iterable[SpanRecord]) -> str:
    """The queries of all requests and tasks among these spans, and their time; "" if there were none."""
    asked = [record.attributes for record in records if "clew.db.query_count" in record.attributes]
    try:
        count = sum(int(attributes["clew.db.query_count"]) for attributes in asked)
        took = sum(float(attributes.get("clew.db.duration_ms", 0)) for attributes in asked)
    except (TypeError, ValueError, OverflowError):
        return ""
    return f"{_queries(count)} in {_three_digits(took)} ms" if count else ""


def findings_of_root(record: SpanRecord) -> int:
    """How many findings a request or task says it has, on whichever of its spans they are."""
    kinds = record.attributes.get("clew.findings")
    counts = [record.attributes.get(f"clew.{kind}.count", 1) for kind in kinds] if isinstance(kinds, tuple) else []
    return sum(count for count in counts if isinstance(count, int))


def _reason_lines(attributes: dict[str, Any], terminal: Terminal, width: int) -> Iterator[list[Segment]]:
    by = attributes.get("django.response.short_circuited_by")
    said = [(key, word(attributes[key])) for key, word in _REASONS if key in attributes]
    # The CSRF check's middleware is both.
    text = ": ".join(word for key, word in said if key != "django.view.denied_by" or attributes[key] != by)
    mark = f"{terminal.glyphs.reason} "
    for line in terminal.wrap(terminal.clean(text), width - cells(mark), 5) if text else ():
        yield [(mark + line, "fix")]
        mark = "  "


def _error_lines(node: Node, terminal: Terminal, width: int) -> Iterator[list[Segment]]:
    record, failed = node.record, node.record.status == "ERROR"
    found = list(dict.fromkeys(exceptions(record)))
    # A database's exception becomes one of Django's of the same name on its way up.
    shown = {(kind.rpartition(".")[2], message) for kind, message in node.below}
    new = [(kind, message) for kind, message in found if (kind.rpartition(".")[2], message) not in shown]
    said = [": ".join(filter(None, key)) or "exception" for key in new]
    below = any(message and message in record.status_message for _, message in shown)
    if failed and not found and record.status_message and not below:
        said = [record.status_message]
    for text in said[:_MOST_EXCEPTIONS]:
        mark = f"{terminal.glyphs.error} "
        # Logged and swallowed exceptions are the silent failures people look for.
        tail = "" if failed else " (recorded, but the span is no error)"
        for line in terminal.wrap(terminal.clean(text + tail), width - 2, 5):
            yield [(mark + line, "error" if failed else "fix")]
            mark = "  "


def _finding_lines(attributes: dict[str, Any], terminal: Terminal, width: int) -> Iterator[list[Segment]]:
    kind = terminal.clean(attributes.get("clew.finding.type", "finding"))
    message = terminal.clean(attributes.get("clew.finding.about", ""))
    is_hint = attributes.get("clew.finding.severity") == "information"
    kind += " (information)" if is_hint else ""
    first, *rest = terminal.wrap(f"{kind}: {message}" if message else kind, width - 2, 6)
    head, colon, tail = first.partition(":") if message else (first, "", "")
    style = "fix" if is_hint else "finding"
    yield [(f"{terminal.glyphs.finding} {head}{colon}", style), (tail, "")]
    for line in rest:
        yield [(f"  {line}", "")]
    if where := code_line(attributes):
        yield [("  at:  ", style), (_fit_end(terminal, terminal.clean(where), width - 7), "")]
    if fix := attributes.get("clew.finding.fix"):
        mark = "  fix: "
        for line in terminal.wrap(terminal.clean(fix), width - len(mark), 8):
            yield [(mark, style if mark.strip() else ""), (line, "fix")]
            mark = " " * len(mark)


def code_line(attributes: dict[str, Any]) -> str:
    """The whole `path:line` of a span or finding, which terminals and editors open; "" if it has none."""
    path, line = attributes.get("code.file.path"), attributes.get("code.line.number")
    return f"{path}:{line}" if path and line is not None else ""


def fit_name(terminal: Terminal, name: str, width: int) -> str:
    """Cut a clean span name; of a dotted path in it the end is kept: `view ...queries.customers`."""
    what, space, which = name.partition(" ")
    room = width - cells(what + space)
    if cells(name) <= width or " " in which or "." not in which or room < _SHORTEST_PATH:
        return terminal.fit(name, width)
    return what + space + _fit_end(terminal, which, room)


def _fit_end(terminal: Terminal, text: str, width: int) -> str:
    """Cut the beginning of a path: its end is what tells it apart."""
    if cells(text) <= width:
        return text
    more = terminal.glyphs.more
    while text and cells(more + text) > width:
        text = text[1:]
    return more + text
