"""Resident memory of this process, from Linux' /proc; None where there is no such thing (macOS, Windows).

The file is kept open: a reading is then one system call. Kernels count pages in batches for each processor, so one
run's difference is right to some hundred KiB only; over many runs the errors cancel out.
"""

from __future__ import annotations

import os

from clew.story.local_trace import Slot

_PATH = "/proc/self/statm"
_FIELDS = 7
_MAX_LENGTH = 128


class State:
    """The open file, -1: none; whether there is one to open; bytes of a page; bytes after the last run."""

    fd = -1
    last = 0
    is_there = hasattr(os, "pread")
    page_bytes = os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0


class Reading:
    """Resident memory before a request or run, and after it.

    Args:
        before: bytes.
        is_of_request: of a request, of a task's run otherwise.
    """

    __slots__ = ("_after", "before", "is_of_request", "route")

    def __init__(self, before: int, *, is_of_request: bool = False) -> None:
        self.before = before
        self.is_of_request = is_of_request
        # Of a request, told at its end.
        self.route = ""
        self._after = 0

    @property
    def after(self) -> int:
        """Bytes when it was asked for first, so that all who ask at the end of a run share one reading."""
        if not self._after:
            State.last = self._after = resident_bytes() or self.before
        return self._after


def resident_bytes() -> int | None:
    """Resident memory of this process in bytes."""
    found = _read(State.fd)
    if found is None and State.is_there:
        State.fd = _open()
        found = _read(State.fd)
    return found


def close() -> None:
    """Close the file; the next reading opens it again."""
    fd, State.fd, State.last = State.fd, -1, 0
    try:
        # A program that closes all files (a daemon) may have given the number to one of its own since.
        if fd >= 0 and os.readlink(f"/proc/self/fd/{fd}").endswith("/statm"):
            os.close(fd)
    except OSError:
        pass


def _open() -> int:
    try:
        return os.open(_PATH, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        State.is_there = False
    except OSError:
        pass
    return -1


def _read(fd: int) -> int | None:
    if fd < 0:
        return None
    try:
        fields = os.pread(fd, _MAX_LENGTH, 0).split()
        return int(fields[1]) * State.page_bytes if len(fields) == _FIELDS else None
    except (OSError, ValueError):
        return None


if hasattr(os, "register_at_fork"):
    # "self" was resolved when the file was opened: a child would read its parent's memory.
    os.register_at_fork(after_in_child=close)


# The `Reading` of a run.
READING: Slot[Reading] = Slot()
