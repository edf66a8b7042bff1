"""One operation on a cache, while it is run and after it, and what a request or task has asked of its caches."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from clew.story.local_trace import Slot

if TYPE_CHECKING:
    from types import FrameType

    from clew.source.call_site import CallSite
    from clew.story.findings import Finding
    from clew.story.local_trace import LocalTrace


class CacheOperation:
    """One operation on a cache.

    Args:
        local: the request or task.
        name: get, set, get_many ...
        alias: key in CACHES; "" of a cache that is none of these.
        is_remote: it is asked in another process.
        key: of it, as the application gave it; only ever hashed and compared, never recorded.
        template: what may be told of the key.
    """

    __slots__ = (
        "alias",
        "context",
        "duration_ns",
        "findings",
        "frame",
        "is_hit",
        "is_over",
        "is_remote",
        "key",
        "local",
        "name",
        "opened",
        "serialize_ns",
        "site",
        "size_bytes",
        "start_ns",
        "taken_by",
        "template",
    )

    def __init__(
        self,
        local: LocalTrace,
        name: str,
        alias: str,
        key: Any,
        template: str,
        frame: FrameType | None,
        *,
        is_remote: bool,
    ) -> None:
        self.local = local
        self.name = name
        self.alias = alias
        self.key = key
        self.template = template
        self.is_remote = is_remote
        # Where it is asked; None once it is over.
        self.frame = frame
        self.site: CallSite | None = None
        # OpenTelemetry's context, where it is recorded; its span, where it was opened before; a driver's span for it.
        self.context: Any = None
        self.opened: Any = None
        self.taken_by: Any = None
        self.start_ns = self.duration_ns = self.serialize_ns = 0
        # Of one key that was read; None otherwise.
        self.is_hit: bool | None = None
        # Of its value as it is stored, where that is known.
        self.size_bytes = -1
        self.is_over = False
        # To be said on its span.
        self.findings: list[Finding] = []


class CacheLog:
    """What a request or task has asked of its caches."""

    __slots__ = ("added", "count", "duration_ns", "errors", "hits", "memo", "misses")

    def __init__(self) -> None:
        self.count = self.duration_ns = self.hits = self.misses = 0
        # Hash of the key that the last `add` has stored: `get_or_set` asks for it again.
        self.added = 0
        # By alias and type of error.
        self.errors: dict[tuple[str, str], int] = {}
        # What detectors keep from one operation to the next.
        self.memo: dict[Any, Any] = {}


LOG: Slot[CacheLog] = Slot()


class _Running(threading.local):
    """Of this thread: the operation it is in, or the last one."""

    operation: CacheOperation | None = None


running = _Running()
