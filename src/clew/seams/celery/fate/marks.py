"""How far a run had come when its child died: marks that children leave in memory they share with the main process.

A child that is killed when its run is over, but not yet reported (in a receiver of `task_postrun`, in Celery's own
clean-up), looks to the main process as if it had been killed in the middle of the run. A mark is 32 bytes, written once
a run. Pools that do not fork share no memory: there, nothing is known.
"""

from __future__ import annotations

import mmap
import os
import struct
from typing import NamedTuple

_MARK = struct.Struct("<QQQQ")
_SLOTS = 4096
_OUTCOMES = (
    "",
    "succeeded",
    "failed",
    "soft_timed_out",
    "retried",
    "ignored",
    "replaced",
    "rejected",
    "expected_failure",
)


class State:
    """The shared memory, once there is a pool."""

    memory: mmap.mmap | None = None


class Ended(NamedTuple):
    """A run that was over when its child died.

    Args:
        outcome: a value of `celery.outcome`.
        ended_ns: when, in nanoseconds since the epoch.
    """

    outcome: str
    ended_ns: int


def share() -> None:
    """Make the shared memory, in the main process before it forks, so that children can leave marks."""
    if State.memory is None:
        State.memory = mmap.mmap(-1, _SLOTS * _MARK.size)


def reset() -> None:
    """Release the shared memory."""
    State.memory = None


def mark(span_id: int, outcome: str, ended_ns: int) -> None:
    """In a child: the run with this span id is over."""
    if State.memory is not None:
        pid, code = os.getpid(), _OUTCOMES.index(outcome) if outcome in _OUTCOMES else 0
        _MARK.pack_into(State.memory, pid % _SLOTS * _MARK.size, pid, span_id, ended_ns, code)


def ended(pid: int, span_id: int) -> Ended | None:
    """What a child that has died had left for this run; None: it was not over, or nothing is known."""
    if State.memory is None or not pid or not span_id:
        return None
    found_pid, found_id, ended_ns, code = _MARK.unpack_from(State.memory, pid % _SLOTS * _MARK.size)
    return Ended(_OUTCOMES[code], ended_ns) if (found_pid, found_id) == (pid, span_id) else None
