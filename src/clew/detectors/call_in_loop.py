"""`call_in_loop`: another service is asked for one object after the other, and each answer is waited for.

We stand where another instrumentation's span of the call begins (processors/annotate.py), with the stack alive, and
where it ends, with what it asked for. The place is that of an N+1 (source/place.py); the loop around it is read once
(call_shape.py). Not found: polling, pages, tries after an error, chunks of a stream or of a batch, `while` loops and
recursions, which go on by the last answer; calls at the same time; one request again and again (`repeated_call`);
unsampled requests, whose calls have no spans. Missed: a helper that several lines call, once from each.
"""

from __future__ import annotations

import asyncio
import functools
import threading
from typing import Any

from opentelemetry.trace import SpanKind

from clew.detectors import call_remedy
from clew.detectors.call_request import (
    Request,
    Template,
    arguments_of,
    has_to_be_asked_again,
    request_of,
    statement_of,
)
from clew.detectors.call_shape import Shape, shape_of
from clew.detectors.walks import loops_around
from clew.engine import configuration
from clew.source.place import place
from clew.source.stack import awaiting_frames
from clew.story import findings
from clew.story.detector import Detector
from clew.story.external_calls import ExternalCall, ExternalCalls
from clew.story.findings import Finding

TYPE = "call_in_loop"
_WARNING_MS = 50
_MAX_PLACES, _MAX_REQUESTS = 200, 1_000
_PAGES = frozenset(
    (
        *("page", "p", "per_page", "page_size", "limit", "size", "offset", "skip", "start", "from", "after", "before"),
        *("cursor", "next", "token", "page_token", "pagetoken", "continuation", "marker", "since", "until"),
        *("position", "scroll_id"),
    )
)
# Of Redis: many at once, the next one of a queue, what waits, parts of a whole.
_MANY = ("MGET", "MSET", "SCAN", "HSCAN", "SSCAN", "ZSCAN", "BLPOP", "BRPOP", "BLMOVE", "BZPOPMIN", "BZPOPMAX")
_NEXT = ("LPOP", "RPOP", "SPOP", "LMOVE", "RPOPLPUSH", "XREAD", "XREADGROUP", "WATCH", "MULTI", "EXEC", "WAIT")


class _Place:
    """The calls of one place, by one thread or task."""

    def __init__(self) -> None:
        self.count = self.duration_ns = self.open = 0
        self.digests: set[int] = set()
        self.is_concurrent = self.is_looked_at = self.is_reported = False
        self.shape: Shape | None = None
        self.template: Template | None = None
        self.fix = ""
        self.loops: Any = ()


def _on_call_begin(call: ExternalCall, log: ExternalCalls) -> None:
    places = log.memo.setdefault(TYPE, {})
    key = (place(call.frame), _runner())
    found = places.get(key)
    if found is None:
        if len(places) >= _MAX_PLACES:
            return
        found = places[key] = _Place()
    call.held[TYPE] = found, arguments_of(call.frame)
    found.is_concurrent = found.is_concurrent or found.open > 0
    found.open += 1
    if not found.is_looked_at and found.count + 1 >= configuration.settings.call_in_loop_threshold:
        found.is_looked_at = True
        found.shape = shape_of(call.frame)
        if found.shape is not None:
            found.fix = call_remedy.fix(call, found.shape)
            found.loops = loops_around(call.frame)


def _runner() -> int:
    """Which thread or task this is: what several do at the same time is no loop of one."""
    if asyncio._get_running_loop() is not None:
        return id(asyncio.current_task())
    return 0 if awaiting_frames() else threading.get_ident()


def _on_call_end(call: ExternalCall, _: ExternalCalls) -> None:
    held = call.held.get(TYPE)
    if held is None:
        return
    found, arguments = held
    found.open -= 1
    if has_to_be_asked_again(call.attributes):
        return
    request = request_of(call.span, call.attributes, arguments)
    found.count += 1
    found.duration_ns += call.took_ns
    if found.template is None:
        found.template = Template(request)
    found.template.add(request)
    if request.digest is not None and len(found.digests) < _MAX_REQUESTS:
        found.digests.add(request.digest)
    if not found.is_reported and found.shape is not None and _is_one_by_one(found, request, call):
        found.is_reported = True
        _report(call, found)


def _is_one_by_one(found: _Place, request: Request, call: ExternalCall) -> bool:
    shape, template = found.shape, found.template
    if shape is None or template is None or found.is_concurrent or call.span.kind is SpanKind.PRODUCER:
        return False
    threshold = configuration.settings.call_in_loop_threshold
    if not request.path:
        return _are_commands(found, request, call, shape) and found.count >= threshold
    if len(found.digests) < threshold:
        # With another body each time: one by one where the loop goes through objects, and not through chunks of them.
        is_sent = not request.is_safe and len(found.digests) == 1 and found.count >= threshold
        return is_sent and shape.at is not None and not (shape.is_of_chunks or shape.is_left_early)
    if any(True for _ in template.varying()):
        return any(before.lower() not in _PAGES for before in template.varying())
    return not template.names <= _PAGES and not shape.is_of_chunks


def _are_commands(found: _Place, request: Request, call: ExternalCall, shape: Shape) -> bool:
    verb = request.verb.upper().partition(" ")[0]
    if verb in _MANY or verb in _NEXT or "\n" in statement_of(call.attributes):
        return False
    if call.attributes.get("db.redis.pipeline_length", 1) > 1 or shape.is_of_chunks:
        return False
    if request.digest is None:
        return shape.at is not None and not shape.is_left_early
    return len(found.digests) >= configuration.settings.call_in_loop_threshold


def _report(call: ExternalCall, found: _Place) -> None:
    evidence = {"call": "", "count": 0, "duration_ms": 0.0, "system": call.system}
    refresh = functools.partial(_put_into_words, found)
    finding = Finding(TYPE, "", found.fix, call.site, evidence, refresh=refresh, loops=found.loops)
    call.report(finding, (TYPE, str(call.site), str(found.template)))


def _put_into_words(found: _Place, finding: Finding) -> None:
    took_ms, what = round(found.duration_ns / 1e6, 3), str(found.template)
    finding.evidence.update(call=what, count=found.count, duration_ms=took_ms)
    finding.severity = findings.WARNING if took_ms >= _WARNING_MS else findings.INFORMATION
    system = finding.evidence["system"]
    finding.message = f"{found.count} calls, one after another, of {system} ({what}) from one line: {took_ms:g} ms"


DETECTOR = Detector(
    TYPE,
    doc="Another service is asked for one object after the other from one line, `call_in_loop_threshold` times or more,"
    " and each answer is waited for. Of whatever another instrumentation makes CLIENT spans of (requests, httpx,"
    " urllib3, redis, gRPC).",
    fix="One call for all of them; several at the same time; a pipeline of Redis.",
    not_found="Polling, pages, tries after an error, chunks of a stream or of a batch, `while` loops and recursions,"
    " threads and tasks at the same time, the site's own databases and caches, the same request again"
    " (`repeated_call`), messages, unsampled requests.",
    on_call_begin=_on_call_begin,
    on_call_end=_on_call_end,
)
