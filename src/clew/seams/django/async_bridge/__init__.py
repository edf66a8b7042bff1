"""`sync_to_async <function>`: what a coroutine waited for a thread, where that was a millisecond or more.

We stand at `SyncToAsync.__call__`, the one way from async code to the ORM, and at the beginning of the thread's work:
what lies between is the wait, and what the thread did until then is who held it. A query in the thread knows from here
the line that awaited it: nothing of the coroutines is on its stack, and every `await Author.objects.aget()` of a site
would look like the same place. Ways into threads and into loops are counted on the request. `loop_watch` sees whether
a loop that serves requests goes round.
"""

from __future__ import annotations

from clew import attributes as names
from clew.engine import configuration, needs
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.django.async_bridge import loop_watch
from clew.seams.django.async_bridge.hop import begin, begin_work, end, end_work
from clew.story import local_trace
from clew.story.hops import hops_of


def _into_loop() -> None:
    local = local_trace.current()
    if local is not None:
        hops_of(local).count += 1


def _served() -> loop_watch.WatchedLoop | None:
    return loop_watch.enter() if configuration.settings.blocking_on_loop_threshold_ms else None


SEAM = Seam(
    "django.async_bridge",
    patches=(
        Patch("asgiref.sync", "SyncToAsync.__call__", Around(begin, close=end)),
        Patch("asgiref.sync", "SyncToAsync.thread_handler", Around(begin_work, close=end_work)),
        Patch("asgiref.sync", "AsyncToSync.__call__", Around(_into_loop)),
        Patch(
            "django.core.handlers.base",
            "BaseHandler.get_response_async",
            Around(_served, close=loop_watch.leave),
        ),
    ),
    spans=(
        SpanDoc(
            "sync_to_async shop.views.report",
            "INTERNAL",
            "a coroutine waits for a thread, 1 ms or more",
            (
                *(names.DJANGO_ASYNC_FUNCTION, names.DJANGO_ASYNC_WAIT_MS, names.DJANGO_ASYNC_THREAD_SENSITIVE),
                names.DJANGO_ASYNC_HELD_BY,
                *names.CODE,
            ),
        ),
    ),
    needs=needs.attributes("asgiref.sync", "SyncToAsync", "func", "_thread_sensitive"),
    on_uninstall=loop_watch.stop,
)
