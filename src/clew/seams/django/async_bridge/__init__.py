"""`sync_to_async <function>`: what a coroutine waited for a thread, where that was a millisecond or more;
`async_to_sync <function>`: what a thread waited until an event loop began with a coroutine.

We stand at `SyncToAsync.__call__`, the one way from async code to the ORM, and at the beginning of the thread's work:
what lies between is the wait, and what the thread did until then is who held it. A query in the thread knows from here
the line that awaited it: nothing of the coroutines is on its stack, and every `await Author.objects.aget()` of a site
would look like the same place. A thread waits in `AsyncToSync.__call__` until `main_wrap` begins: for the loop of its
request, which may be busy, or for a new one, made in a new thread where there is none. Ways into threads and into loops
are counted on the request. `loop_watch` sees whether a loop that serves requests goes round.
"""

from __future__ import annotations

from clew import attributes as names
from clew.engine import configuration, needs
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.django.async_bridge import entry, loop_watch
from clew.seams.django.async_bridge.hop import begin, begin_work, end, end_work


def _served() -> loop_watch.WatchedLoop | None:
    return loop_watch.enter() if configuration.settings.blocking_on_loop_threshold_ms else None


SEAM = Seam(
    "django.async_bridge",
    patches=(
        Patch("asgiref.sync", "SyncToAsync.__call__", Around(begin, close=end)),
        Patch("asgiref.sync", "SyncToAsync.thread_handler", Around(begin_work, close=end_work)),
        Patch("asgiref.sync", "AsyncToSync.__call__", Around(entry.begin, close=entry.end)),
        Patch("asgiref.sync", "AsyncToSync.main_wrap", Around(entry.arrive)),
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
            "a coroutine waits for a thread, 1 ms or more; equal waits of one line below one span are one span",
            (
                *(names.DJANGO_ASYNC_FUNCTION, names.DJANGO_ASYNC_WAIT_MS, names.DJANGO_ASYNC_THREAD_SENSITIVE),
                names.DJANGO_ASYNC_HELD_BY,
                *names.CODE,
            ),
        ),
        SpanDoc(
            "async_to_sync shop.views.rates",
            "INTERNAL",
            "a thread waits until an event loop, its request's or a new one, begins with a coroutine, 1 ms or more",
            (names.DJANGO_ASYNC_FUNCTION, names.DJANGO_ASYNC_WAIT_MS, *names.CODE),
        ),
    ),
    needs=(
        *needs.attributes("asgiref.sync", "SyncToAsync", "func", "_thread_sensitive"),
        *needs.attributes("asgiref.sync", "AsyncToSync", "awaitable"),
    ),
    on_uninstall=loop_watch.stop,
)
