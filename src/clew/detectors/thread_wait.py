"""`thread_wait`: a request waits for a thread that is busy with other work of its own, or of somebody else.

We read what the seam django.async_bridge has measured of every `sync_to_async` when a request or task ends. A function
that is thread-sensitive (the default, and whatever touches the database) runs on the one thread of its request, or,
where nothing opens a `ThreadSensitiveContext` (consumers, tasks, scripts), on the one of the whole process: what is
awaited at the same time still runs one after the other. Only waits whose thread was seen busy count: on a machine that
has no time for anybody nobody is to blame. Missed: threads that code outside of `sync_to_async` keeps busy.
"""

from __future__ import annotations

from clew.engine import configuration
from clew.story.detector import Detector
from clew.story.findings import Finding
from clew.story.hops import HOPS, Wait
from clew.story.local_trace import LocalTrace

_TYPE = "thread_wait"


def _on_end(local: LocalTrace) -> None:
    hops, limit_ms = HOPS.get(local), configuration.settings.thread_wait_threshold_ms
    if hops is None or not limit_ms:
        return
    held = [each for each in hops.waits if each.held_by is not None]
    took_ms = sum([each.took_ns for each in held]) / 1e6
    if took_ms >= limit_ms:
        _report(local, held, took_ms)


def _report(local: LocalTrace, held: list[Wait], took_ms: float) -> None:
    longest = max(held, key=lambda each: each.took_ns)
    assert longest.held_by is not None
    is_own = longest.held_by.local is local
    whose = "of its own" if is_own else "of another request or task"
    times = "once" if len(held) == 1 else f"{len(held)} times"
    message = (
        f"waited {took_ms:.0f} ms for a thread, {times}; longest for {longest.what}"
        f" ({longest.took_ns / 1e6:.0f} ms), while the thread was busy with {longest.held_by.what} {whose}"
    )
    evidence = {
        "count": len(held),
        "duration_ms": round(took_ms, 3),
        "held_by": longest.held_by.what,
        "held_by_own": is_own,
        "thread_sensitive": longest.is_thread_sensitive,
    }
    finding = Finding(_TYPE, message, _fix(longest, is_own=is_own), longest.site, evidence)
    local.report(finding, _TYPE)


def _fix(wait: Wait, *, is_own: bool) -> str:
    if not wait.is_thread_sensitive:
        return (
            "all threads of the loop's pool were busy: `sync_to_async(f, thread_sensitive=False, executor=POOL)` with a"
            " `POOL = ThreadPoolExecutor(...)` of its own for what takes long, or a task of Celery"
        )
    elsewhere = "where it touches neither the database nor what belongs to a thread"
    apart = f"`sync_to_async({wait.what.rpartition('.')[2]}, thread_sensitive=False)` {elsewhere}"
    if is_own:
        return f"thread-sensitive functions of one request run one after the other, also in asyncio.gather: {apart}"
    return (
        "one thread runs the thread-sensitive functions of the whole process:"
        f" `async with ThreadSensitiveContext(): ...` (asgiref.sync) gives this work one of its own; or {apart}"
    )


DETECTOR = Detector(
    _TYPE,
    doc="A request or task waited `thread_wait_threshold_ms` or more for threads of `sync_to_async` that were busy with"
    " other work, its own or somebody else's.",
    fix="`sync_to_async(f, thread_sensitive=False)` for what needs no thread of its own, a `ThreadSensitiveContext` for"
    " work outside of requests, an executor of its own for what takes long.",
    not_found="Waits for a thread that was not seen busy (a machine that has no time); threads that are kept busy"
    " otherwise.",
    on_end=_on_end,
)
