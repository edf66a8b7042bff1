"""No span of its own: `process.memory.delta` on the span of every run, and the readings `memory_growth` lives on.

We stand at `task_prerun`, after the run has begun, and read again when it ends. In a prefork child one task runs at a
time and the difference is its own; in a threads, gevent or eventlet pool it is that of whatever ran meanwhile.
"""

from __future__ import annotations

import sys
from typing import Any

from clew import attributes as names
from clew.engine.seam import Seam
from clew.seams.celery.receivers import Receivers
from clew.story import local_trace, memory
from clew.story.local_trace import LocalTrace
from clew.story.memory import Reading

SCOPE = __name__


def _is_pool_child() -> bool:
    """Whether this process only runs one task after the other: the next begins with what the last has left."""
    process: Any = sys.modules.get("billiard.process")
    return process is not None and process.current_process().name != "MainProcess"


def _prerun(task: Any, **_: Any) -> None:
    local = local_trace.current()
    # A run that is not traced, inside a request or another task: what is current is not its own.
    if local is None or names.CELERY_TASK_NAME not in local.where or memory.READING.get(local) is not None:
        return
    is_next = _is_pool_child() and not task.request.is_eager
    before = (is_next and memory.State.last) or memory.resident_bytes()
    if before is None:
        return
    reading = memory.READING.put(local, Reading(before))
    if local.is_recording:
        local.at_end.append(lambda: _note_on_root(local, reading))


def _note_on_root(local: LocalTrace, reading: Reading) -> None:
    local.root.note(names.PROCESS_MEMORY_DELTA, reading.after - reading.before)


def _uninstall() -> None:
    RECEIVERS.disconnect()
    memory.close()


RECEIVERS = Receivers(SCOPE, task_prerun=_prerun)

SEAM = Seam("celery.memory", patches=RECEIVERS.patches, on_uninstall=_uninstall)
