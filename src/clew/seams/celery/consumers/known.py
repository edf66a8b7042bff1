"""What this process knows of who reads which queue; it grows old in seconds, because workers come and go."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from time import monotonic
from typing import Any

AMQP, REDIS = "amqp", "redis"
# Broker, and queue in it.
Key = tuple[Any, ...]
_MAX_QUEUES = 1000
# That nobody reads a queue is asked again soon: a worker may have started meanwhile.
_READ_SECONDS, _UNREAD_SECONDS = 30.0, 5.0
_TAKEN_SECONDS = 60.0
# A worker that is just connecting (again) reads its queues a moment later.
SECOND_LOOK_SECONDS = 1.0
_MINUTE_SECONDS = 60.0


@dataclass(frozen=True)
class Known:
    """What is known of a queue.

    Args:
        is_read: whether somebody reads it; None: the broker could not say.
        messages: how many wait.
        does_exist: whether the broker has it.
        at: when that was so, by the monotonic clock.
        read_at: when it was last known to be read.
        taken_at: when messages were taken by somebody who is not in the registry.
        strangers: workers that are not in the registry, and may read it; or they have died.
        unread_since: since when each look has found nobody who reads it.
    """

    is_read: bool | None
    messages: int = 0
    does_exist: bool = True
    at: float = field(default_factory=monotonic)
    read_at: float | None = None
    taken_at: float | None = None
    strangers: tuple[str, ...] = ()
    unread_since: float | None = None

    @property
    def is_settled(self) -> bool:
        """Whether a second look has found what the first one did; one at a worker that reads is enough."""
        return self.is_read is not False or self.at - (self.unread_since or self.at) >= SECOND_LOOK_SECONDS

    @property
    def is_certain(self) -> bool:
        """Whether the broker has said who reads the queue, or that nobody does."""
        return self.is_read is not None and not self.strangers

    @property
    def is_fresh(self) -> bool:
        """Whether the answer is recent enough."""
        return monotonic() - self.at < (_UNREAD_SECONDS if self.is_read is False else _READ_SECONDS)

    @property
    def read_seconds_ago(self) -> float | None:
        """How long ago it was known to be read."""
        return None if self.read_at is None else monotonic() - self.read_at


_known: dict[Key, Known] = {}


def key_of(connection: Any, queue: str) -> Key | None:
    """Key of a queue of that broker; None: it is no broker that can say who reads."""
    kind = connection.transport.driver_type
    if kind not in (AMQP, REDIS):
        return None
    prefix = (connection.transport_options or {}).get("global_keyprefix", "")
    return kind, connection.hostname, connection.port, connection.virtual_host, prefix, queue


def answer_for(key: Key) -> Known | None:
    """What is known of a queue, as long as it can be relied on."""
    found = _known.get(key)
    return found if found is not None and found.is_fresh else None


def keep(key: Key, known: Known) -> Known:
    """Store a broker's answer; returns it merged with the one before."""
    before = _known.pop(key, None)
    if known.is_read:
        known = replace(known, read_at=known.at)
    elif before is not None:
        known = replace(known, read_at=before.read_at, taken_at=known.taken_at or before.taken_at)
    if known.is_read is False:
        known = _since(known, before)
        if key[0] == REDIS:
            known = _unless_taken(known, before)
    if len(_known) >= _MAX_QUEUES:
        _known.pop(next(iter(_known)), None)
    _known[key] = known
    return known


def _since(known: Known, before: Known | None) -> Known:
    """With the time of the first of the looks that agree; what was so long ago is not one of them."""
    agrees = before is not None and before.is_read is False and known.at - before.at < _MINUTE_SECONDS
    return replace(known, unread_since=before.unread_since if agrees and before is not None else known.at)


def _unless_taken(known: Known, before: Known | None) -> Known:
    """Nobody in the registry reads it; but where messages go, a worker without clew does."""
    if before is not None and before.is_read is not True and known.messages < before.messages:
        known = replace(known, taken_at=known.at)
    if known.taken_at is not None and known.at - known.taken_at < _TAKEN_SECONDS:
        return replace(known, is_read=None)
    return known


def reset() -> None:
    """Forget all answers."""
    _known.clear()
