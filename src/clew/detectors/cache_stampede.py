"""`cache_stampede`: several requests of one process missed one key at the same time, and each computed its value.

We stand behind every `get`, `set` and `add` (seam django.cache): who misses a key is remembered until it stores it; who
stores one that another has stored since has computed it for nothing. Keys are compared by their hash. Seen are the
threads and coroutines of one process: with more processes there were more of them. Not found: who waits for a lock and
then finds the value there.
"""

from __future__ import annotations

import threading
from time import monotonic

from clew.engine import forks
from clew.source.call_site import call_site
from clew.story.cache_operation import CacheLog, CacheOperation
from clew.story.detector import Detector
from clew.story.findings import Finding

_TYPE = "cache_stampede"
_MAX_KEYS, _MAX_WAITING, _FORGET_AFTER_S = 1000, 100, 60


class _Missed:
    """One key that is missing: who computes it, and whether one of them has stored it."""

    def __init__(self) -> None:
        self.since = monotonic()
        self.waiting: set[int] = set()
        self.count = 0
        self.is_stored = False


_missed: dict[tuple[str, int], _Missed] = {}
_lock = threading.Lock()


def _renew() -> None:
    global _lock
    _lock = threading.Lock()
    _missed.clear()


def _on_cache(operation: CacheOperation, log: CacheLog) -> None:
    if type(operation.key) is not str or operation.name not in ("get", "set", "add"):
        return
    key = (operation.alias, hash(operation.key))
    if operation.name == "get":
        if operation.is_hit is False:
            with _lock:
                _wait(key, id(operation.local))
    elif key in _missed:
        with _lock:
            count = _store(key, id(operation.local))
        if count:
            _report(operation, key, count)


def _wait(key: tuple[str, int], who: int) -> None:
    missed = _missed.get(key)
    if missed is None or missed.is_stored or monotonic() - missed.since > _FORGET_AFTER_S:
        if len(_missed) >= _MAX_KEYS:
            _missed.pop(next(iter(_missed)))
        missed = _missed[key] = _Missed()
    if len(missed.waiting) < _MAX_WAITING and who not in missed.waiting:
        missed.waiting.add(who)
        missed.count += 1


def _store(key: tuple[str, int], who: int) -> int:
    """How many have missed it together, if this one stores what another one has stored; else 0."""
    missed = _missed.get(key)
    if missed is None or who not in missed.waiting:
        return 0
    missed.waiting.discard(who)
    if not missed.waiting:
        del _missed[key]
    was_stored, missed.is_stored = missed.is_stored, True
    return missed.count if was_stored else 0


def _report(operation: CacheOperation, key: tuple[str, int], count: int) -> None:
    finding = Finding(
        _TYPE,
        f"{count} requests or tasks of this process missed {operation.template!r} of cache {operation.alias!r} at the "
        "same time, and each computed it",
        "let one of them compute it: take a lock before (`cache.add(key + '.lock', 1, 30)`) and wait, or give the old "
        "value, meanwhile; or store it anew before it expires",
        operation.site or call_site(operation.frame),
        {"count": count, "alias": operation.alias},
    )
    operation.report(finding, (_TYPE, key))


forks.renew(_renew)

DETECTOR = Detector(
    _TYPE,
    doc="Several requests of one process missed one key at the same time, and each computed its value.",
    fix="Let one compute it (a lock by `cache.add`), or store it anew before it expires.",
    not_found="Requests of other processes; who waits for a lock and finds the value there.",
    on_cache=_on_cache,
)
