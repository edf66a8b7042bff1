"""The registry in a Redis broker of who reads which queue: Redis itself does not know.

A sorted set for each queue: the workers that read it, each with the time, by Redis's own clock, it last said so. A
marker says that there is a registry at all: without it nobody has said anything, and nothing is known. One more set has
the nodes that keep it. Where kombu's bindings of remote control name others, workers run without clew, as while it is
rolled out; or they have died, for a killed worker's binding stays. Workers without remote control are not seen.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from opentelemetry.instrumentation.utils import suppress_instrumentation

from clew.engine import forks, isolation
from clew.seams.celery.consumers.connection import own_connection, release, troubles
from clew.seams.celery.consumers.known import REDIS

SCOPE = "clew.seams.celery.consumers"
_SAY_EVERY_SECONDS = 20
_EXPIRES_SECONDS = 60
_MARKER_EXPIRES_SECONDS = 7 * 24 * 3600
_STOP_SECONDS = 0.2
_MAX_QUEUES = 200
_MAX_NODES = 1000
_MAX_STRANGERS = 3
_MAILBOX = "celery.pidbox"


class Registry:
    """The registry in one broker.

    Args:
        channel: kombu's, of Redis.
    """

    def __init__(self, channel: Any) -> None:
        from redis import Redis

        # kombu's client puts the prefix before the keys of some commands only.
        self._client = Redis(connection_pool=channel.pool)
        self._prefix = f"{channel.global_keyprefix}clew:"
        self._mailboxes = f"{channel.global_keyprefix}{channel.keyprefix_queue % _MAILBOX}"
        self._separator = channel.sep

    def _key(self, queue: str) -> str:
        return f"{self._prefix}readers:{queue}"

    def readers(self, queue: str) -> int | None:
        """How many workers read a queue; None: no worker keeps the registry."""
        pipe: Any = self._client.pipeline(transaction=False)
        pipe.exists(f"{self._prefix}registry")
        pipe.time()
        is_kept, (now, _) = pipe.execute()
        if not is_kept:
            return None
        return int(self._client.zcount(self._key(queue), now - _EXPIRES_SECONDS, "+inf"))

    def strangers(self) -> tuple[str, ...]:
        """Some of the nodes with remote control that do not keep the registry, and never did."""
        pipe: Any = self._client.pipeline(transaction=False)
        pipe.srandmember(self._mailboxes, _MAX_NODES)
        pipe.zrevrange(f"{self._prefix}nodes", 0, _MAX_NODES - 1)
        bindings, known = ([each.decode(errors="replace") for each in answer] for answer in pipe.execute())
        nodes = {each.rpartition(self._separator)[2].removesuffix(f".{_MAILBOX}") for each in bindings}
        return tuple(sorted(nodes.difference(known))[:_MAX_STRANGERS])

    def record(self, worker: str, queues: set[str], before: set[str]) -> None:
        """Record the queues that a worker reads, and remove those it has stopped reading."""
        client: Any = self._client
        now = client.time()[0]
        pipe: Any = self._client.pipeline(transaction=False)
        pipe.set(f"{self._prefix}registry", "1", ex=_MARKER_EXPIRES_SECONDS)
        self._record_node(pipe, worker.rpartition("/")[0], now, is_there=bool(queues))
        for queue in queues:
            pipe.zadd(self._key(queue), {worker: now})
            pipe.zremrangebyscore(self._key(queue), "-inf", now - _EXPIRES_SECONDS)
            pipe.expire(self._key(queue), _EXPIRES_SECONDS)
        for queue in before - queues:
            pipe.zrem(self._key(queue), worker)
        pipe.execute()

    def _record_node(self, pipe: Any, node: str, now: int, *, is_there: bool) -> None:
        key = f"{self._prefix}nodes"
        # Who dies stays: its binding does, too. Who leaves may come back without clew.
        if is_there:
            pipe.zadd(key, {node: now})
            pipe.expire(key, _MARKER_EXPIRES_SECONDS)
        else:
            pipe.zrem(key, node)
        pipe.zremrangebyscore(key, "-inf", now - _MARKER_EXPIRES_SECONDS)


class Registrar:
    """A worker's entry in the registry, kept by a thread of its main process.

    Args:
        consumer: Celery's, whose broker it is.
    """

    def __init__(self, consumer: Any) -> None:
        self._consumer = consumer
        self._connection = consumer.connection
        self._worker = f"{consumer.hostname}/{os.getpid()}"
        self._recorded: set[str] = set()
        # Not an Event: a signal's handler, which stops it, may come in the middle of another stop.
        self._stop: SimpleQueue[None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="clew-registry", daemon=True)

    def start(self) -> None:
        """Start to report what this worker reads."""
        forks.start(self._thread)

    def stop(self, seconds: float = _STOP_SECONDS) -> None:
        """Remove the worker from the registry; waits at most so long, 0: not at all."""
        self._stop.put(None)
        if seconds:
            self._thread.join(seconds)

    def _run(self) -> None:
        with suppress_instrumentation():
            connection = self._record(None, self._queues)
            while not self._is_stopped():
                connection = self._record(connection, self._queues)
            connection = self._record(connection, set)
            if connection is not None:
                release(connection)

    def _is_stopped(self) -> bool:
        try:
            self._stop.get(timeout=_SAY_EVERY_SECONDS)
        except Empty:
            return False
        return True

    def _queues(self) -> set[str]:
        """Read anew: `add_consumer` and `cancel_consumer` change it. As `celery inspect active_queues` does."""
        consuming = self._consumer.task_consumer
        if consuming is None:  # its connection is being made again
            return self._recorded
        names = [queue.name for queue in consuming.queues if getattr(queue.exchange, "type", None) != "fanout"]
        return set(names[:_MAX_QUEUES])

    def _record(self, connection: Any, reading: Callable[[], set[str]]) -> Any:
        """Returns the connection; None where the broker could not be told: the next time tries again."""
        try:
            queues = reading()
            connection = connection or own_connection(self._connection)
            Registry(connection.default_channel).record(self._worker, queues, self._recorded)
            self._recorded = queues
        except troubles(self._connection):
            if connection is not None:
                release(connection)
            return None
        except Exception as ours:  # noqa: BLE001 - ours must not reach the worker
            isolation.report(ours, SCOPE)
        return connection


def keeps_registry(consumer: Any) -> bool:
    """Whether the broker of this worker needs one."""
    return bool(consumer.connection.transport.driver_type == REDIS)
