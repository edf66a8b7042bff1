"""`blocking_on_loop`: code in an event loop waits or computes without giving way, and everybody else's requests stand.

We are told by the watch of the seam django.async_bridge, while the loop stands, with the stack of its thread: the line
of the application, and what it is in: a driver of a database that DJANGO_ALLOW_ASYNC_UNSAFE has let through, a client
of another service, `time.sleep`, or a computation. It is said on the request whose code it is. What is shorter than the
threshold is not seen, what is twice as long always. Not found: modules that are imported, a debugger, a machine that
has no time for anybody, greenlets; before Python 3.12, tasks that a request has begun.
"""

from __future__ import annotations

import linecache
from types import FrameType

from clew.source import frames
from clew.story.detector import Detector
from clew.story.findings import Finding
from clew.story.local_trace import Slot
from clew.story.loop_block import LoopBlock

_TYPE = "blocking_on_loop"
_MAX_SITES = 50
_DRIVERS = frozenset(("sqlite3", "psycopg", "psycopg2", "MySQLdb", "pymysql", "oracledb", "cx_Oracle"))
_CLIENTS = frozenset(
    (
        *("requests", "urllib3", "http", "urllib", "httpx", "httpcore", "socket", "ssl", "smtplib", "ftplib"),
        *("redis", "pymemcache", "pymongo", "botocore", "elasticsearch", "kafka", "grpc", "subprocess", "paramiko"),
    )
)
_FIXES = {
    "database": "the asynchronous ORM (`await qs.aget()`, `async for`), or `await sync_to_async(f)()` around what"
    " queries; without DJANGO_ALLOW_ASYNC_UNSAFE Django refuses it",
    "call": "an asynchronous client (`async with httpx.AsyncClient() as client: await client.get(url)`), or"
    " `await sync_to_async(f, thread_sensitive=False)()`",
    "sleep": "`await asyncio.sleep(seconds)`",
    "computation": "`await sync_to_async(f, thread_sensitive=False)()`, a task of Celery where it takes long, or a sync"
    " view, which has a thread of its own",
}
_DOES = {
    "database": "a query",
    "call": "a call to another service",
    "sleep": "time.sleep",
    "computation": "a computation",
}


class _Site:
    """The blocks of one line."""

    def __init__(self, first: LoopBlock) -> None:
        self.blocks = [first]

    @property
    def took_ms(self) -> float:
        return sum([each.duration_ns for each in self.blocks]) / 1e6


_SITES: Slot[dict[str, _Site]] = Slot()


def _on_loop_blocked(block: LoopBlock) -> None:
    sites = _SITES.get(block.local) or _SITES.put(block.local, {})
    key = str(block.site)
    known = sites.get(key)
    if known is not None:
        known.blocks.append(block)
        return
    if len(sites) >= _MAX_SITES:
        return
    site, what = _Site(block), _what(block.frame)
    sites[key] = site

    def refresh(finding: Finding) -> None:
        count, took_ms = len(site.blocks), site.took_ms
        times = "once" if count == 1 else f"{count} times"
        finding.evidence = {"count": count, "duration_ms": round(took_ms, 3), "cause": what}
        finding.message = f"{_DOES[what]} kept the event loop for {took_ms:.0f} ms, {times}: all its requests waited"

    block.local.report(Finding(_TYPE, "", _FIXES[what], block.site, refresh=refresh), (_TYPE, key))


def _what(frame: FrameType | None) -> str:
    """What the application's line is in."""
    while frame is not None and frames.kind_of(frame) != frames.APPLICATION:
        module = str(frame.f_globals.get("__name__", ""))
        package = module.partition(".")[0]
        if package in _DRIVERS or module.startswith("django.db.backends"):
            return "database"
        if package in _CLIENTS:
            return "call"
        if frames.kind_of(frame) >= frames.FIRST_END:
            return "computation"
        frame = frame.f_back
    if frame is None:
        return "computation"
    line = linecache.getline(frame.f_code.co_filename, frame.f_lineno or 0)
    return "sleep" if "sleep(" in line and "await " not in line else "computation"


DETECTOR = Detector(
    _TYPE,
    doc="Code of a request kept its event loop for `blocking_on_loop_threshold_ms` or more: a query that"
    " DJANGO_ALLOW_ASYNC_UNSAFE lets through, a call by a synchronous client, `time.sleep`, a computation. Names the"
    " line.",
    fix="The asynchronous ORM, an asynchronous client, `asyncio.sleep`, `sync_to_async`, or a sync view.",
    not_found="What is shorter; modules that are imported, a debugger, a machine that has no time; greenlets; before"
    " Python 3.12, tasks that a request has begun.",
    on_loop_blocked=_on_loop_blocked,
)
