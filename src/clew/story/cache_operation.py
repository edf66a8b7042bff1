"""One operation on a cache, while it is run and after it, and what a request or task has asked of its caches."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from clew import attributes as names
from clew.engine.metric import COUNTER, Metric
from clew.engine.series import MAX_SERIES, OTHER
from clew.story.local_trace import Slot

if TYPE_CHECKING:
    from types import FrameType

    from clew.source.call_site import CallSite
    from clew.story.findings import Finding
    from clew.story.local_trace import LocalTrace


# What holds keys so that its length and its first are nobody's code, and looking uses nothing up.
_VIEWS: tuple[Any, ...] = (type({}.keys()), type({}.values()), type({}.items()))
_ORDERED: Any = OrderedDict()
COLLECTIONS = frozenset(
    (list, tuple, set, dict, frozenset, deque, range, *_VIEWS, type(_ORDERED.keys()), type(_ORDERED.values()))
)


@dataclass(slots=True, eq=False)
class CacheOperation:
    """One operation on a cache."""

    local: LocalTrace
    # get, set, get_many ...
    name: str
    # Key in CACHES; "" of a cache that is none of these.
    alias: str
    # As the application gave it; only ever hashed and compared, never recorded. What may be told of it is its template.
    key: Any
    template: str
    # Where it is asked; None once it is over.
    frame: FrameType | None
    # Whether it is asked in another process.
    is_remote: bool
    site: CallSite | None = None
    # OpenTelemetry's context, where it is recorded; its span, where it was opened before; a driver's span for it.
    context: Any = None
    opened: Any = None
    taken_by: Any = None
    start_ns: int = 0
    duration_ns: int = 0
    serialize_ns: int = 0
    # Of one key that was read; None otherwise.
    is_hit: bool | None = None
    # Of its value as it is stored, where that is known.
    size_bytes: int = -1
    is_over: bool = False
    # To be said on its span.
    findings: tuple[Finding, ...] = ()

    def report(self, finding: Finding, key: Hashable) -> None:
        """Take a finding of the request or task that is about this operation, and said on its span."""
        if self.local.report(finding, key):
            self.findings += (finding,)


@dataclass(slots=True, eq=False)
class CacheLog:
    """What a request or task has asked of its caches."""

    count: int = 0
    duration_ns: int = 0
    hits: int = 0
    misses: int = 0
    # Alias, and hash of the key, that the last operation has added: `get_or_set` reads it back, which is no lookup.
    added: tuple[str, int] | None = None
    # By alias and type of error.
    errors: dict[tuple[str, str], int] = field(default_factory=dict)
    # Keys that were there, and that were not, by alias and template; None where there is no metric.
    lookups: dict[tuple[str, str], list[int]] | None = None
    # What detectors keep from one operation to the next.
    memo: dict[Any, Any] = field(default_factory=dict)

    def looked_up(self, operation: CacheOperation, hits: int, misses: int) -> None:
        """Count keys that were asked for."""
        self.hits += hits
        self.misses += misses
        if self.lookups is not None:
            key = (operation.alias, operation.template)
            counted = self.lookups.get(key)
            if counted is None:
                key = key if len(self.lookups) < MAX_SERIES else (operation.alias, OTHER)
                counted = self.lookups.setdefault(key, [0, 0])
            counted[0] += hits
            counted[1] += misses

    def measure(self) -> None:
        """Record them in the metric."""
        for (alias, template), counts in (self.lookups or {}).items():
            where = {names.DJANGO_CACHE_ALIAS: alias, names.DJANGO_CACHE_KEY: template}
            for is_hit, count in zip((True, False), counts, strict=True):
                if count:
                    _LOOKUPS.record(count, {**where, names.CACHE_HIT: is_hit})


_TEXT = "Keys that a request or task asked of its caches: hits and misses, by alias and template of the key."
_LOOKUPS = Metric(
    *("clew.seams.django.cache", names.CLEW_CACHE_LOOKUPS, COUNTER, "{key}", _TEXT),
    *(names.DJANGO_CACHE_ALIAS, names.DJANGO_CACHE_KEY),
)
LOG: Slot[CacheLog] = Slot()


class _Running(threading.local):
    """Of this thread: the operation it is in, or the last one."""

    operation: CacheOperation | None = None


running = _Running()
