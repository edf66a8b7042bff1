"""The span of an operation on a cache, and what it adds to the request's or task's sums.

It is made when the operation is over, and folds with its equals as queries do. Only of a cache that may ask others (a
database, a backend of the site's) it is opened before, so that their spans are below it.
"""

from __future__ import annotations

import functools
from time import time_ns
from typing import Any

from opentelemetry.trace import SpanKind, get_current_span
from opentelemetry.trace.propagation import _SPAN_KEY

from clew import attributes as names
from clew.engine.metric import is_metered
from clew.engine.redaction.exception_event import CANCELLED, type_name
from clew.source.call_site import call_site
from clew.spans import folding
from clew.spans.folded_run import RunCursor
from clew.spans.identity import StaticAttributes
from clew.spans.leaf import Kind, leave
from clew.spans.light_span import LightSpan
from clew.spans.scope import Scope
from clew.story import findings
from clew.story.cache_operation import COLLECTIONS, LOG, CacheLog, CacheOperation
from clew.story.detector import watchers
from clew.story.local_trace import LocalTrace

_static: dict[tuple[Any, ...], StaticAttributes] = {}
_MAX_STATIC = 2_000
# What is the folded span's when it is taken together.
_SUMMED = (names.DJANGO_CACHE_HITS, names.DJANGO_CACHE_MISSES, names.DJANGO_CACHE_KEY_COUNT)


def begin(scope: Scope, operation: CacheOperation, *, may_ask_others: bool) -> None:
    """Before the call, of one that is recorded."""
    operation.site = call_site(operation.frame)
    if may_ask_others:
        operation.opened = scope.open(_name(operation), None, SpanKind.CLIENT)


def end(scope: Scope, operation: CacheOperation, positional: Any, keywords: Any, result: Any, error: Any) -> None:
    """After the call."""
    log = _log(operation.local)
    log.count += 1
    log.duration_ns += operation.duration_ns
    is_missing_key = isinstance(error, ValueError) and operation.name in ("incr", "decr")
    said = _outcome(operation, log, positional, keywords, result) if error is None else {}
    if is_missing_key:
        operation.is_hit = False
        said[names.CACHE_HIT] = False
        log.looked_up(operation, 0, 1)
        error = None
    is_told = error is None or _is_first(operation, log, error)
    for watch in watchers.on_cache:
        watch(operation, log)
    for watch in watchers.on_remote_cache if operation.is_remote else ():
        watch(operation, log)
    if operation.local.is_recording and operation.taken_by is None:
        _emit(scope, operation, positional, said, error, is_told=is_told)
    operation.frame = operation.context = operation.key = None


def _log(local: LocalTrace) -> CacheLog:
    log = LOG.get(local)
    if log is None:
        log = LOG.put(local, CacheLog())
        if local.is_recording:
            local.at_end.append(functools.partial(_summarise, local, log))
        if is_metered():
            log.lookups = {}
            local.at_end.append(log.measure)
    return log


def _summarise(local: LocalTrace, log: CacheLog) -> None:
    note = local.root.note
    note(names.CLEW_CACHE_COUNT, log.count)
    note(names.CLEW_CACHE_DURATION_MS, round(log.duration_ns / 1e6, 3))
    note(names.CLEW_CACHE_HITS, log.hits)
    note(names.CLEW_CACHE_MISSES, log.misses)
    if log.errors:
        note(names.CLEW_CACHE_ERRORS, sum(log.errors.values()))


def _is_first(operation: CacheOperation, log: CacheLog, error: BaseException) -> bool:
    """A cache that is down says so once in a request; the others are counted."""
    if isinstance(error, CANCELLED):
        return True
    key = (operation.alias, type_name(error))
    count = log.errors[key] = log.errors.get(key, 0) + 1
    return count == 1


def _outcome(operation: CacheOperation, log: CacheLog, positional: Any, keywords: Any, result: Any) -> dict[str, Any]:
    name = operation.name
    said: dict[str, Any] = {}
    added, log.added, is_read_back = log.added, None, False
    if name == "get":
        default = positional[2] if len(positional) > 2 else keywords.get("default")
        is_read_back = added is not None and added == _hash_of(operation)
        if result is not default or not is_read_back:
            operation.is_hit = result is not default
    elif name in ("has_key", "incr", "decr"):
        operation.is_hit = name != "has_key" or result is True
    elif name in ("add", "touch", "delete"):
        if type(result) is bool:
            said[names.DJANGO_CACHE_STORED if name != "delete" else names.CACHE_HIT] = result
        if name == "add" and result is True:
            log.added = _hash_of(operation)
    elif name == "get_many":
        hits = len(result) if issubclass(type(result), dict) else 0
        asked = _size(positional, keywords, "keys")
        said[names.DJANGO_CACHE_HITS] = hits
        if asked >= hits:
            said[names.DJANGO_CACHE_MISSES] = asked - hits
        log.looked_up(operation, hits, max(asked - hits, 0))
    if operation.is_hit is not None:
        said[names.CACHE_HIT] = operation.is_hit
        if not is_read_back:
            log.looked_up(operation, operation.is_hit, not operation.is_hit)
    if name.endswith("_many"):
        count = _size(positional, keywords, "data" if name == "set_many" else "keys")
        if count >= 0:
            said[names.DJANGO_CACHE_KEY_COUNT] = count
    if name in ("set", "add", "set_many", "touch"):
        said.update(_ttl(positional, keywords, name))
    return said


def _hash_of(operation: CacheOperation) -> tuple[str, int] | None:
    return (operation.alias, hash(operation.key)) if type(operation.key) is str else None


def _size(positional: Any, keywords: Any, name: str) -> int:
    given = positional[1] if len(positional) > 1 else keywords.get(name)
    return len(given) if type(given) in COLLECTIONS else -1


def _ttl(positional: Any, keywords: Any, name: str) -> dict[str, Any]:
    """Seconds it is kept; -1: for ever."""
    index = 3 if name in ("set", "add") else 2
    missing = object()
    given = positional[index] if len(positional) > index else keywords.get("timeout", missing)
    if type(given) not in (int, float, type(None)):
        given = getattr(positional[0], "default_timeout", missing)  # what Django's own marker of a default stands for
    if given is None:
        return {names.DJANGO_CACHE_TTL_S: -1}
    return {names.DJANGO_CACHE_TTL_S: given} if type(given) in (int, float) else {}


def _name(operation: CacheOperation) -> str:
    return f"cache {operation.name} {operation.alias}".rstrip()


def _emit(
    scope: Scope, operation: CacheOperation, positional: Any, said: dict[str, Any], error: Any, *, is_told: bool
) -> None:
    if operation.opened is not None:
        _close_opened(operation, positional, said, error if is_told else None)
        return
    if not is_told:
        return
    parent: Any = operation.context.get(_SPAN_KEY)
    if type(parent) is RunCursor:
        parent = parent.resolve()
    if type(parent) is not LightSpan:
        parent = get_current_span(operation.context)
    if not parent.is_recording():
        return
    key = _fold_key(operation)
    end_ns = time_ns()
    first = parent.folds.get(key) if type(parent) is LightSpan and error is None and parent.folds else None
    if first is not None:
        folding.count_repeat(first, operation.duration_ns)
        for name in _SUMMED:
            if name in said:
                first.add(name, said[name])
        for finding in operation.findings:
            findings.attach(first, finding)
        return
    own, static = _own_attributes(operation, said), _static_attributes(operation, positional)
    start_ns = end_ns - operation.duration_ns
    if type(parent) is LightSpan and error is None and not operation.findings:
        like = static.leaves
        if like is None:
            like = static.leaves = Kind(scope.instrumentation_scope, _name(operation), SpanKind.CLIENT, static)
        if leave(parent, key, like, own, start_ns, end_ns) is not None:
            return
    span = scope.under(parent, _name(operation), own, SpanKind.CLIENT, operation.context, start_ns, static)
    if span is None:
        return
    for finding in operation.findings:
        findings.attach(span.span, finding)
    if error is not None or type(span) is not LightSpan or type(parent) is not LightSpan:
        span.close(error)
        return
    span.end_time = end_ns
    folding.fold(span, parent, key)


def _close_opened(operation: CacheOperation, positional: Any, said: dict[str, Any], error: Any) -> None:
    span = operation.opened
    own, static = _own_attributes(operation, said), _static_attributes(operation, positional)
    for name, value in (*static.mapping.items(), *own.items()):
        span.note(name, value)
    for finding in operation.findings:
        findings.attach(span.span, finding)
    folding.close_folded(span, span.above, _fold_key(operation), error)


def _fold_key(operation: CacheOperation) -> Any:
    return ("cache", operation.alias, operation.name, operation.template, operation.site, operation.is_hit)


def _static_attributes(operation: CacheOperation, positional: Any) -> StaticAttributes:
    """What every operation of this kind, on such a key, from this line, has in common."""
    kind = type(positional[0])
    key = (kind, operation.alias, operation.name, operation.template, operation.site)
    found = _static.get(key)
    if found is None:
        if len(_static) >= _MAX_STATIC:
            _static.clear()
        found = _static[key] = StaticAttributes(_described(operation, kind))
    return found


def _described(operation: CacheOperation, kind: type) -> dict[str, Any]:
    found: dict[str, Any] = {
        names.DJANGO_CACHE_BACKEND: f"{kind.__module__}.{kind.__qualname__}",
        names.DJANGO_CACHE_OPERATION: operation.name,
    }
    if operation.alias:
        found[names.DJANGO_CACHE_ALIAS] = operation.alias
    if operation.template:
        found[names.DJANGO_CACHE_KEY] = operation.template
    if operation.site is not None:
        found.update(operation.site.attributes())
    return found


def _own_attributes(operation: CacheOperation, said: dict[str, Any]) -> dict[str, Any]:
    if operation.size_bytes >= 0:
        said[names.DJANGO_CACHE_SIZE_BYTES] = operation.size_bytes
    if operation.serialize_ns:
        said[names.DJANGO_CACHE_SERIALIZE_MS] = round(operation.serialize_ns / 1e6, 3)
    return said
