"""`blocking_on_loop`: code in an event loop waits or computes without giving way, and everybody else's requests stand.

We are told by the watch of the seam django.async_bridge, while the loop stands, with the stack of its thread: the line
of the application, and what it is in: a driver of a database that DJANGO_ALLOW_ASYNC_UNSAFE has let through, a client
of another service, `time.sleep`, or a computation. It is said on the request whose code it is. What is shorter than the
threshold is not seen, what is twice as long always; but queries that a coroutine runs on the loop are counted, however
short. Not found: modules that are imported, a debugger, a machine that
has no time for anybody, greenlets; before Python 3.12, tasks that a request has begun.
"""

from __future__ import annotations

import inspect
import linecache
from types import FrameType

from clew.source import frames
from clew.source.call_site import call_site
from clew.source.stack import stack
from clew.story.detector import Detector
from clew.story.findings import INFORMATION, Finding
from clew.story.local_trace import Slot
from clew.story.loop_block import LoopBlock
from clew.story.query import Query

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
    # To make one loads the certificates, which blocks for tens of milliseconds.
    "call": "an asynchronous client that is made once, when the module is loaded (`client = httpx.AsyncClient()`), and"
    " `await client.get(url)`; or `await sync_to_async(f, thread_sensitive=False)()`",
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


class _Queries:
    """Those that coroutines of one request have run on the loop."""

    def __init__(self) -> None:
        self.count = 0

    def put_into_words(self, finding: Finding) -> None:
        many = "a query was" if self.count == 1 else f"{self.count} queries were"
        finding.evidence = {"count": self.count, "cause": "database"}
        finding.message = (
            f"{many} run in the event loop itself, as DJANGO_ALLOW_ASYNC_UNSAFE allows: its requests waited"
        )


_QUERIES: Slot[_Queries] = Slot()


def _on_loop_query(query: Query) -> None:
    queries = _QUERIES.get(query.local)
    if queries is None:
        # A thread may have a loop, and be in sync code all the same (a test that drives a browser).
        if not any(frame.f_code.co_flags & inspect.CO_COROUTINE for frame in stack(query.frame)):
            return
        queries = _QUERIES.put(query.local, _Queries())
        finding = Finding(_TYPE, "", _FIXES["database"], query.site or call_site(query.frame), {}, INFORMATION)
        finding.refresh = queries.put_into_words
        query.local.report(finding, (_TYPE, "queries"))
    queries.count += 1


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
    not_found="What is shorter, but for queries; modules that are imported, a debugger, a machine that has no time;"
    " greenlets; before Python 3.12, tasks that a request has begun.",
    on_loop_query=_on_loop_query,
    on_loop_blocked=_on_loop_blocked,
)
