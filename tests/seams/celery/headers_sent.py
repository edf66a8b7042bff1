"""What Celery gives to the broker, as it is on its way there."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from typing import Any

from celery import Celery
from kombu import Producer


@contextlib.contextmanager
def sent_messages(app: Celery) -> Iterator[list[Any]]:
    """The messages' bodies, by protocol 2, as the worker will read them."""
    found: list[Any] = []
    publish = Producer.publish

    def keep(self: Producer, body: Any, *args: Any, **options: Any) -> Any:
        found.append(json.loads(json.dumps(body)))
        return publish(self, body, *args, **options)

    Producer.publish = keep
    try:
        yield found
    finally:
        Producer.publish = publish


def bodies_in(message: Any) -> Iterator[Any]:
    """The bodies of the chords whose header a message's task, or a later one of its chain, belongs to."""
    embedded = message[2]
    if embedded["chord"]:
        yield from _outwards(embedded["chord"])
    for later in (embedded["chain"] or [])[:1]:  # the last of it
        yield from _of(later)


def _of(signature: Any) -> Iterator[Any]:
    if signature["options"].get("chord"):
        yield from _outwards(signature["options"]["chord"])
    if signature["subtask_type"] == "chord":
        yield from _of(signature["kwargs"]["body"])


def _outwards(body: Any) -> Iterator[Any]:
    yield body
    yield from _of(body)
