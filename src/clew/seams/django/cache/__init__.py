"""`cache get default`: what is asked of a cache, hit or miss, with the line that asked and the key as a template.

We stand at the methods that the classes of a site's caches have themselves, found when Django makes a cache, so that
backends of any library and of the site's own are seen. `BaseCache`'s own are none: its `get_or_set` shows as the `get`
and the `add` it consists of, its async methods as what they call in a thread. What a backend's method asks of its own
is part of it. Where a driver instrumentation makes a span of the call, that one is annotated (processors/detect.py).
"""

from __future__ import annotations

import sys
from time import perf_counter_ns
from types import CodeType, FunctionType
from typing import Any
from weakref import WeakKeyDictionary

from clew import attributes as names
from clew.engine import needs
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.django.cache.emitting import begin, end
from clew.seams.django.cache.key_template import asking_frame, key_template
from clew.spans.current import SUPPRESS, get_current
from clew.spans.scope import Scope
from clew.story import local_trace
from clew.story.cache_operation import COLLECTIONS, CacheOperation, running

SCOPE = Scope(__name__)
_OF_ONE = ("get", "set", "add", "touch", "delete", "incr", "decr", "has_key")
_OF_MANY = ("get_many", "set_many", "delete_many")
_ASYNC = tuple(f"a{name}" for name in (*_OF_ONE, *_OF_MANY, "clear"))
_OPERATIONS = (*_OF_ONE, *_OF_MANY, "clear", *_ASYNC)
_REMOTE = ("django.core.cache.backends.redis", "django.core.cache.backends.memcached", "django_redis", "django_valkey")
_LOCAL = ("django.core.cache.backends.locmem", "django.core.cache.backends.dummy")
_BASE, _CACHES = "django.core.cache.backends.base", "django.core.cache"

_aliases: WeakKeyDictionary[Any, str] = WeakKeyDictionary()
# Who patches a method; of two threads that make a cache at once, one.
_patched: dict[tuple[type, str], object] = {}
# Code of the backends' own methods: what they ask of themselves is part of what they were asked.
_own_code: set[CodeType] = set()
# Whether it is in another process, and whether it may ask others (a database, another cache).
_kinds: dict[type, tuple[bool, bool]] = {}


def _operation_named(method: str) -> Around:
    name = method.removeprefix("a") if method in _ASYNC else method
    keyed_by = "" if name == "clear" else "data" if name == "set_many" else "keys" if name in _OF_MANY else "key"

    def open_operation(positional: Any, keywords: Any, caller: Any) -> CacheOperation | None:
        local = local_trace.current() or local_trace.of_current_span()
        cache = positional[0]
        if local is None or (caller.f_code in _own_code and caller.f_locals.get("self") is cache):
            return None
        context = get_current()
        if context.get(SUPPRESS):
            return None
        frame = asking_frame(caller)
        key = _key(positional, keywords, keyed_by) if keyed_by else None
        template = key_template(key, frame) if keyed_by else ""
        is_remote, may_ask_others = _kinds.get(type(cache), (False, True))
        operation = CacheOperation(local, name, _alias_of(cache), key, template, frame, is_remote=is_remote)
        if local.is_recording:
            operation.context = context
            begin(SCOPE, operation, may_ask_others=may_ask_others)
        running.operation = operation
        operation.start_ns = perf_counter_ns()
        return operation

    def close_operation(opened: CacheOperation, positional: Any, keywords: Any, result: Any, error: Any) -> None:
        opened.duration_ns = perf_counter_ns() - opened.start_ns
        opened.is_over = True
        end(SCOPE, opened, positional, keywords, result, error)

    return Around(open_operation, close=close_operation)


def _key(positional: Any, keywords: Any, name: str) -> Any:
    """The key; of many the first, if to look at them does not use them up."""
    given = positional[1] if len(positional) > 1 else keywords.get(name)
    if name == "key":
        return given
    return next(iter(given), None) if type(given) in COLLECTIONS else None


def _alias_of(cache: Any) -> str:
    try:
        return _aliases.get(cache, "")
    except TypeError:  # neither hashed nor weakly referenced
        return ""


def _stand_at(cache: Any, alias: str) -> None:
    kind = type(cache)
    try:
        _aliases[cache] = alias
    except TypeError:
        pass
    if kind in _kinds:
        return
    is_remote = any(each.__module__.startswith(_REMOTE) for each in kind.__mro__)
    # A class of the site's may ask whomever it likes.
    _kinds[kind] = (is_remote, not kind.__module__.startswith((*_REMOTE, *_LOCAL)))
    base = sys.modules[_BASE].BaseCache
    for each in kind.__mro__[: -len(base.__mro__)] if issubclass(kind, base) else kind.__mro__[:-1]:
        _own_code.update(value.__code__ for value in vars(each).values() if type(value) is FunctionType)
        for name in _OPERATIONS:
            if name in vars(each) and _patched.setdefault((each, name), own := object()) is own:
                SEAM.patch_attribute(each, name, _AROUND[name])


def _made(alias: Any, result: Any) -> None:
    if type(alias) is str:
        _stand_at(result, alias)


def _stand_at_those_made() -> None:
    made = getattr(sys.modules.get(_CACHES), "caches", None)
    if made is None or "settings" not in vars(made):
        return  # nobody has asked for one, and to ask for its settings would load the site's
    for alias in made.settings:
        cache = getattr(made._connections, alias, None)
        if cache is not None:
            _stand_at(cache, alias)


def _reset() -> None:
    _aliases.clear()
    _patched.clear()
    _own_code.clear()
    _kinds.clear()


def _now() -> int:
    return perf_counter_ns()


def _note_dumped(opened: int, result: Any) -> None:
    operation = running.operation
    if operation is not None and not operation.is_over:
        operation.serialize_ns += perf_counter_ns() - opened
        if type(result) is bytes:
            operation.size_bytes = max(operation.size_bytes, 0) + len(result)


def _note_loaded(opened: int, data: Any) -> None:
    _note_dumped(opened, data)


def _note_stored(value: Any) -> None:
    operation = running.operation
    if operation is not None and not operation.is_over and type(value) is bytes:
        operation.size_bytes = max(operation.size_bytes, 0) + len(value)


def _nothing(opened: int) -> None:
    """A clock reading needs no end."""


_AROUND = {name: _operation_named(name) for name in _OPERATIONS}
_REDIS, _LOCMEM = "django.core.cache.backends.redis", "django.core.cache.backends.locmem"
SEAM = Seam(
    "django.cache",
    patches=(
        Patch(_CACHES, "CacheHandler.create_connection", Around(note=_made)),
        Patch(_REDIS, "RedisSerializer.dumps", Around(_now, _note_dumped, close=_nothing)),
        Patch(_REDIS, "RedisSerializer.loads", Around(_now, _note_loaded, close=_nothing)),
        Patch(_LOCMEM, "LocMemCache._set", Around(note=_note_stored)),
    ),
    needs=(
        *needs.attributes("django.utils.connection", "BaseConnectionHandler", "_connections"),
        *needs.attributes(_BASE, "BaseCache", "default_timeout"),
    ),
    spans=(
        SpanDoc(
            "cache get default",
            "CLIENT",
            "an operation on a cache; equal ones of one line below one span, hits and misses apart, are one span",
            (
                *(names.DJANGO_CACHE_ALIAS, names.DJANGO_CACHE_BACKEND, names.DJANGO_CACHE_OPERATION),
                *(names.DJANGO_CACHE_KEY, names.DJANGO_CACHE_KEY_COUNT, names.DJANGO_CACHE_HITS),
                *(names.DJANGO_CACHE_MISSES, names.DJANGO_CACHE_STORED, names.DJANGO_CACHE_TTL_S),
                *(names.DJANGO_CACHE_SIZE_BYTES, names.DJANGO_CACHE_SERIALIZE_MS, names.CACHE_HIT),
                *names.CODE,
            ),
        ),
    ),
    on_install=_stand_at_those_made,
    on_uninstall=_reset,
)
