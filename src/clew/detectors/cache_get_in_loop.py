"""`cache_get_in_loop`: keys of one kind are asked of a cache one by one, from one place of the code.

Each costs a journey to the cache and back; `get_many` makes one of all. We stand behind every `get` (seam
django.cache); the place is that of an N+1 (source/place.py), so a helper that several lines call is several. Not
found: caches in the process's own memory, one key asked again and again (`hot_cache_key`), reads before writes that
depend on them.
"""

from __future__ import annotations

from typing import Any

from clew.detectors.walks import loops_around
from clew.source.call_site import call_site
from clew.source.place import place
from clew.story.cache_operation import CacheLog, CacheOperation
from clew.story.detector import Detector, watchers
from clew.story.findings import INFORMATION, WARNING, Finding

_TYPE = "cache_get_in_loop"
_MAX_PLACES, _MAX_KEYS, _LONG_MS = 200, 1000, 50


_FRAGMENTS = (
    "put one {% cache %} around the loop in place of one for each round; or keep fragments in the process's memory:"
    ' CACHES["template_fragments"] = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}'
)


class _Gets:
    """What one place in the code has asked a cache for."""

    def __init__(self) -> None:
        self.keys: set[int] = set()
        self.count = self.duration_ns = 0


def _on_cache(operation: CacheOperation, log: CacheLog) -> None:
    frame = operation.frame
    if operation.name != "get" or frame is None:
        return
    memo = log.memo.setdefault(_TYPE, {})
    # The first from a line is not worth a walk: it is counted with those of the second one's place.
    line = (operation.alias, operation.template, frame.f_code, frame.f_lasti)
    if line not in memo:
        if len(memo) < _MAX_PLACES:
            memo[line] = operation.duration_ns
        return
    key = (line, place(frame))
    gets = memo.get(key)
    if gets is None:
        if len(memo) >= _MAX_PLACES:
            return
        gets = memo[key] = _Gets()
        if memo[line]:
            gets.count, gets.duration_ns, memo[line] = 1, memo[line], 0
    gets.count += 1
    gets.duration_ns += operation.duration_ns
    if len(gets.keys) < _MAX_KEYS and type(operation.key) is str:
        gets.keys.add(hash(operation.key))
    if len(gets.keys) + 1 >= watchers.threshold and gets.count >= watchers.threshold:
        _report(operation, gets, key)


def _report(operation: CacheOperation, gets: _Gets, key: Any) -> None:
    def refresh(finding: Finding) -> None:
        took_ms = gets.duration_ns / 1e6
        finding.message = (
            f"{gets.count} keys {operation.template!r} are asked of cache {operation.alias!r} one by one "
            f"({took_ms:.0f} ms)"
        )
        finding.evidence = {"count": gets.count, "duration_ms": round(took_ms, 3), "alias": operation.alias}
        finding.severity = WARNING if took_ms >= _LONG_MS else INFORMATION

    if operation.local.finding((_TYPE, key)) is not None:
        return
    cache = "cache" if operation.alias in ("default", "") else f"caches[{operation.alias!r}]"
    fix = f"ask for all of them at once, before the loop: {cache}.get_many(keys)"
    if str(operation.template).startswith("template.cache."):
        fix = _FRAGMENTS
    finding = Finding(_TYPE, "", fix, operation.site or call_site(operation.frame), refresh=refresh)
    finding.loops = loops_around(operation.frame)
    operation.report(finding, (_TYPE, key))


DETECTOR = Detector(
    _TYPE,
    doc="Keys of one kind are asked of a cache one by one, from one place (`n_plus_one_threshold` of them).",
    fix="`cache.get_many(keys)` before the loop; of fragments of templates, one `{% cache %}` around it.",
    not_found="Caches in the process's own memory; one key again and again, which is `hot_cache_key`.",
    on_remote_cache=_on_cache,
)
