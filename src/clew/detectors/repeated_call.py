"""`repeated_call`: another service is asked the very same again and again in one request or task.

We stand where another instrumentation's span of the call ends (processors/annotate.py): the URL, or a Redis command
with its arguments, from wherever in the code. Only what reads counts, and what is written to that service in between
begins anew. Not found: polling (code that waits, a `while` loop, a loop that the answer may end), tries after an error,
parts of a file, what is sent with a body, libraries that ask until they have an answer, unsampled requests.
"""

from __future__ import annotations

import functools

from opentelemetry.trace import SpanKind

from clew.detectors.call_request import Request, arguments_of, has_to_be_asked_again, request_of
from clew.detectors.call_shape import is_polling
from clew.engine import configuration
from clew.source.call_site import CallSite
from clew.story import findings
from clew.story.detector import Detector
from clew.story.external_calls import ExternalCall, ExternalCalls
from clew.story.findings import Finding

TYPE = "repeated_call"
_WARNING_MS = 50
_MAX_REQUESTS, _MAX_LINES = 500, 5
# Commands of Redis that read, and whose answer is the same until something is written.
_READS = frozenset(
    (
        *(
            "GET",
            "MGET",
            "GETRANGE",
            "STRLEN",
            "EXISTS",
            "HGET",
            "HMGET",
            "HGETALL",
            "HKEYS",
            "HVALS",
            "HLEN",
            "HEXISTS",
        ),
        *("LRANGE", "LLEN", "LINDEX", "SMEMBERS", "SISMEMBER", "SCARD", "ZRANGE", "ZSCORE", "ZCARD", "ZRANK"),
    )
)


class _Same:
    """The calls that ask the same."""

    def __init__(self) -> None:
        self.count = self.duration_ns = 0
        self.lines: dict[str, CallSite] = {}
        self.is_reported = False


def _on_call_begin(call: ExternalCall, log: ExternalCalls) -> None:
    # The first of all is nobody's second.
    call.held[TYPE] = arguments_of(call.frame), TYPE in log.memo and is_polling(call.frame)


def _on_call_end(call: ExternalCall, log: ExternalCalls) -> None:
    arguments, is_waiting = call.held.get(TYPE, (None, True))
    request = request_of(call.span, call.attributes, arguments)
    by_host = log.memo.setdefault(TYPE, {})
    place = (call.system, request.host)
    if call.span.kind is not SpanKind.CLIENT or not _reads(request):
        by_host.pop(place, None)
        return
    if is_waiting or request.digest is None or has_to_be_asked_again(call.attributes):
        return
    asked = by_host.setdefault(place, {})
    same = asked.get(request.digest)
    if same is None:
        if len(asked) >= _MAX_REQUESTS:
            return
        same = asked[request.digest] = _Same()
    same.count += 1
    same.duration_ns += call.took_ns
    if call.site is not None and len(same.lines) < _MAX_LINES:
        same.lines[str(call.site)] = call.site
    if same.count >= configuration.settings.repeated_call_threshold and not same.is_reported:
        same.is_reported = True
        _report(call, same, request)


def _reads(request: Request) -> bool:
    return request.is_safe if request.path else request.verb.upper() in _READS


def _report(call: ExternalCall, same: _Same, request: Request) -> None:
    evidence = {"call": str(request), "count": 0, "duration_ms": 0.0, "system": call.system, "lines": ()}
    finding = Finding(TYPE, "", _FIX, call.site, evidence, refresh=functools.partial(_put_into_words, same))
    call.report(finding, (TYPE, request.digest))


def _put_into_words(same: _Same, finding: Finding) -> None:
    took_ms, lines = round(same.duration_ns / 1e6, 3), tuple(same.lines)
    finding.evidence.update(count=same.count, duration_ms=took_ms, lines=lines)
    finding.severity = findings.WARNING if took_ms >= _WARNING_MS else findings.INFORMATION
    where = f", from {len(lines)} lines: {', '.join(lines)}" if len(lines) > 1 else ", from one line"
    what = f"{finding.evidence['system']} was asked the same ({finding.evidence['call']}) {same.count} times"
    finding.message = f"{what}, {took_ms:g} ms{where}"


_FIX = (
    "keep the answer: in a variable, in an argument, in functools.lru_cache of an object that lives as long as the"
    " request, or for longer: `cache.get_or_set(key, lambda: ..., timeout=60)`"
)

DETECTOR = Detector(
    TYPE,
    doc="Another service was asked the very same, by one URL or one command of Redis, `repeated_call_threshold` times"
    " in one request or task, with nothing written to it in between.",
    fix="Keep the answer: in a variable, an argument, or `cache.get_or_set(...)`.",
    not_found="Polling, tries after an error, parts of a file, what is sent with a body (POST, GraphQL), the site's own"
    " databases and caches, unsampled requests.",
    on_call_begin=_on_call_begin,
    on_call_end=_on_call_end,
)
