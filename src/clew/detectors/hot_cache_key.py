"""`hot_cache_key`: a request or task asks a cache for the same key again and again.

We stand behind every `get` (seam django.cache). Keys are compared by their hash and never told. Not found: caches in
the process's own memory; a key that was written, or was not there, in between, as whoever polls for it asks; fewer
than ten.
"""

from __future__ import annotations

from clew.source.call_site import CallSite, call_site
from clew.story.cache_operation import CacheLog, CacheOperation
from clew.story.detector import Detector
from clew.story.findings import INFORMATION, WARNING, Finding

_TYPE = "hot_cache_key"
_THRESHOLD, _MAX_KEYS, _LONG_MS = 10, 1000, 50
# Of how many lines it is told that they ask.
_MAX_LINES = 5
_WRITES = ("set", "add", "delete", "incr", "decr", "touch")


class _Key:
    """How often one key was read, and where."""

    def __init__(self) -> None:
        self.count = self.duration_ns = 0
        self.sites: dict[str, CallSite] = {}

    def lines(self) -> str:
        """The lines that ask, where there are several."""
        *some, last = self.sites or ("",)
        return f", from {', '.join(some)} and {last}" if some else ""


def _on_cache(operation: CacheOperation, log: CacheLog) -> None:
    if type(operation.key) is not str:
        return
    memo: dict[tuple[str, int], _Key] = log.memo.setdefault(_TYPE, {})
    key = (operation.alias, hash(operation.key))
    if operation.name in _WRITES or operation.is_hit is False:
        memo.pop(key, None)
        return
    if operation.name != "get" or (key not in memo and len(memo) >= _MAX_KEYS):
        return
    asked = memo.setdefault(key, _Key())
    asked.count += 1
    asked.duration_ns += operation.duration_ns
    if asked.count <= _THRESHOLD and len(asked.sites) < _MAX_LINES:
        site = operation.site or call_site(operation.frame)
        if site is not None:
            asked.sites.setdefault(site.short, site)
    if asked.count == _THRESHOLD:
        _report(operation, asked, key)


def _report(operation: CacheOperation, asked: _Key, key: tuple[str, int]) -> None:
    def refresh(finding: Finding) -> None:
        took_ms = asked.duration_ns / 1e6
        finding.message = (
            f"cache {operation.alias!r} is asked {asked.count} times for one key, {operation.template!r} "
            f"({took_ms:.0f} ms{asked.lines()})"
        )
        finding.evidence = {"count": asked.count, "duration_ms": round(took_ms, 3), "alias": operation.alias}
        finding.severity = WARNING if took_ms >= _LONG_MS else INFORMATION

    site = next(iter(asked.sites.values()), None)
    fix = "ask once, and keep the value: in a variable, or on the request or the object that needs it"
    finding = Finding(_TYPE, "", fix, site, refresh=refresh)
    operation.report(finding, (_TYPE, key))


DETECTOR = Detector(
    _TYPE,
    doc=f"A request or task asks a cache for one key {_THRESHOLD} times or more.",
    fix="Ask once, and keep the value in a variable, on the request, or on the object that needs it.",
    not_found="Caches in the process's own memory; a key that is written, or not there, in between.",
    on_remote_cache=_on_cache,
)
