"""Asking a broker who reads a queue: one daemon thread for the process, with connections of its own.

A publish leaves a question and goes on; it never waits for the answer. The thread is started by the first question, and
anew in a forked child that has one. What cannot be answered is not known, and nobody is told.
"""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from opentelemetry.instrumentation.utils import suppress_instrumentation

from clew.engine import forks, isolation
from clew.seams.celery.consumers import known as consumers_known
from clew.seams.celery.consumers.connection import own_connection, release, troubles
from clew.seams.celery.consumers.known import AMQP, Key, Known
from clew.seams.celery.consumers.registry import Registry

SCOPE = "clew.seams.celery.consumers"
Answered = Callable[[Known], None]
_STOP_SECONDS = 2.0
_IDLE_SECONDS = 60.0
EXIT_SECONDS = 0.2
_SETTLE_SECONDS = 0.1
_MAX_QUESTIONS, _MAX_LISTENERS, _MAX_CONNECTIONS = 100, 100, 4


class _Question:
    """A question for a broker: who reads this queue?"""

    def __init__(self, key: Key, connection: Any) -> None:
        self.key, self.connection = key, connection
        self.listeners: list[Answered] = []
        # When it is asked a second time.
        self.due = 0.0


# Asks nothing: wakes the thread.
_HURRY = _Question((), None)


class Watcher:
    """Asks brokers, in a thread of its own."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self._open: dict[Key, _Question] = {}
        self._asked: SimpleQueue[_Question | None] = SimpleQueue()
        # Those that want a second look, in their order; touched by the thread alone.
        self._later: list[_Question] = []
        self._hurries = threading.Event()
        # Reentrant: a signal's handler may publish, too.
        self._lock = threading.RLock()
        self._connections: dict[Key, Any] = {}
        self.thread: threading.Thread | None = None

    def ask(self, key: Key, connection: Any, listener: Answered | None) -> None:
        """Ask who reads a queue.

        Args:
            key: the queue's.
            connection: the application's, to its broker; it is copied, not used.
            listener: told the answer in the watcher's thread.
        """
        with self._lock:
            question = self._open.get(key)
            is_new = question is None
            if question is None:
                if len(self._open) >= _MAX_QUESTIONS:
                    return
                question = self._open[key] = _Question(key, connection)
            if listener is not None and len(question.listeners) < _MAX_LISTENERS:
                question.listeners.append(listener)
            if self.thread is None and not self._start():
                self._open.clear()
                return
        if is_new:
            self._asked.put(question)

    def _start(self) -> bool:
        thread = threading.Thread(target=self._run, name="clew-queues", daemon=True)
        try:
            forks.start(thread)
        except RuntimeError:  # the process is about to end, or may have no more threads
            return False
        self.thread = thread
        # Not before: exit handlers are called newest first, and the one that sends the spans must come after this.
        atexit.register(wait_for_answers)
        return True

    def wait(self, seconds: float) -> None:
        """Wait until everything is answered, so long at most; there is no time for second looks."""
        until = time.monotonic() + seconds
        self._hurries.set()
        if self._open:
            self._asked.put(_HURRY)
        while self._open and self.thread is not None and self.thread.is_alive() and time.monotonic() < until:
            time.sleep(0.005)
        self._hurries.clear()

    def stop(self) -> None:
        """End the thread, when it has answered what it is at."""
        self._asked.put(None)
        if self.thread is not None:
            self.thread.join(_STOP_SECONDS)

    def _run(self) -> None:
        while True:
            waits = self._later[0].due - time.monotonic() if self._later else _IDLE_SECONDS
            try:
                question = self._asked.get(timeout=max(waits, 0))
            except Empty:
                if not self._later:
                    self._close()
                    continue
                question = self._later.pop(0)
            if question is None:
                break
            if question is not _HURRY:
                self._answer(question)
            while self._hurries.is_set() and self._later:
                self._answer(self._later.pop(0))
        self._close()

    def _answer(self, question: _Question) -> None:
        try:
            known = consumers_known.keep(question.key, self._look(question))
        except Exception as ours:  # noqa: BLE001 - a thread that ended would answer nobody
            known = consumers_known.keep(question.key, Known(None))
            isolation.report(ours, SCOPE)
        if not known.is_settled and not self._hurries.is_set():
            question.due = time.monotonic() + consumers_known.SECOND_LOOK_SECONDS
            self._later.append(question)
            return
        with self._lock:
            self._open.pop(question.key, None)
        for listener in question.listeners:
            try:
                listener(known)
            except Exception as ours:  # noqa: BLE001 - one listener's error is not the next one's
                isolation.report(ours, SCOPE)

    def _look(self, question: _Question) -> Known:
        broker, queue = question.key[:-1], question.key[-1]
        with suppress_instrumentation():
            try:
                connection = self._connections.get(broker)
                if connection is None:
                    if len(self._connections) >= _MAX_CONNECTIONS:
                        self._close()
                    connection = self._connections[broker] = own_connection(question.connection)
                return look(connection, queue)
            except troubles(question.connection):
                dead = self._connections.pop(broker, None)
                if dead is not None:
                    release(dead)
                return Known(None)

    def _close(self) -> None:
        with suppress_instrumentation():
            while self._connections:
                release(self._connections.popitem()[1])


def look(connection: Any, queue: str) -> Known:
    """Ask the broker who reads a queue."""
    if connection.transport.driver_type == AMQP:
        return _look_at_amqp(connection, queue)
    channel = connection.default_channel
    registry = Registry(channel)
    readers, messages = registry.readers(queue), channel._size(queue)
    if readers is None:
        return Known(None, messages)
    if not readers and not _stays(channel, queue, messages):
        return Known(messages=messages, is_read=False, taken_at=time.monotonic())
    return (
        Known(is_read=True, messages=messages)
        if readers
        else Known(is_read=False, messages=messages, strangers=registry.strangers())
    )


def _stays(channel: Any, queue: str, messages: int) -> bool:
    """Whether what was just sent is still there a moment later: a worker without clew would take it."""
    if messages:
        time.sleep(_SETTLE_SECONDS)
    return bool(messages and channel._size(queue) >= messages)


def _look_at_amqp(connection: Any, queue: str) -> Known:
    channel = connection.channel()
    try:
        found = channel.queue_declare(queue=queue, passive=True)
    except connection.channel_errors as error:
        # The broker has closed the channel.
        return Known(is_read=False, does_exist=False) if getattr(error, "code", None) == 404 else Known(None)
    channel.close()
    return Known(found[2] > 0, found[1])


_watcher: Watcher | None = None


def watcher() -> Watcher:
    """The watcher of this process."""
    global _watcher
    if _watcher is None or _watcher.pid != os.getpid():
        _watcher = Watcher()
    return _watcher


def wait_for_answers(seconds: float = EXIT_SECONDS) -> None:
    """Before the process ends: let what was asked be answered, so long at most."""
    if _watcher is not None and _watcher.pid == os.getpid():
        _watcher.wait(seconds)


def stop() -> None:
    """End the thread, if this process has one."""
    global _watcher
    found, _watcher = _watcher, None
    atexit.unregister(wait_for_answers)
    if found is not None and found.pid == os.getpid():
        found.stop()
