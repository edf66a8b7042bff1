"""No span of its own: `process.memory.delta` on the span of every request, and the readings `memory_growth` lives on;
`process.recycled_after` where the server replaces the process when the request is over.

We stand where the request seam does, inside of it, and read when the request's span ends; the next begins with what the
last has left. In a worker that serves one request at a time the difference is its own; among threads, or in an event
loop, it is that of whatever ran meanwhile. What the test client asks for is no server's: its process is the tests'.
"""

from __future__ import annotations

from typing import Any

from clew import attributes as names
from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around
from clew.seams.django.request.outcome import route_of
from clew.story import local_trace, memory, recycling
from clew.story.local_trace import LocalTrace
from clew.story.memory import Reading

_TESTS = "django.test.client"


def _begin(handler: Any, /, request: Any) -> None:
    local = local_trace.current()
    if local is None or type(handler).__module__ == _TESTS or memory.READING.get(local) is not None:
        return
    before = memory.State.last or memory.resident_bytes()
    if before is not None:
        reading = memory.READING.put(local, Reading(before, is_of_request=True))
        local.at_end.append(lambda: _say(local, request, reading))


def _say(local: LocalTrace, request: Any, reading: Reading) -> None:
    reading.route, delta = route_of(request), reading.after - reading.before
    limit = recycling.reached()
    if local.is_recording:
        local.root.note(names.PROCESS_MEMORY_DELTA, delta)
        if limit:
            local.root.note(names.PROCESS_RECYCLED_AFTER, limit)


def _close() -> None:
    memory.close()
    recycling.reset()


_AROUND = Around(_begin)
SEAM = Seam(
    "django.memory",
    patches=(
        Patch("django.core.handlers.base", "BaseHandler.get_response", _AROUND),
        Patch("django.core.handlers.base", "BaseHandler.get_response_async", _AROUND),
    ),
    on_uninstall=_close,
)
