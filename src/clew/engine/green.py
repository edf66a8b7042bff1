"""Greenlets: `celery worker -P gevent` and `-P eventlet` replace threads, locks and sockets of the standard library.

Celery does that first of all, but under `opentelemetry-instrument` OpenTelemetry, Celery and Django come before it.
eventlet then looks at every object there is, and ends the worker with an error of Django's lazy settings: so what
Celery is about to do is done here, before them. gevent cannot come while a module is being imported and a thread (the
SDK's) is running; it comes in its time, and the seam `celery.green` mends what has been decided too early.
"""

from __future__ import annotations

import sys
from pathlib import Path

_LIBRARIES = ("gevent", "eventlet")
_OPTIONS = ("-P", "--pool")


def pool_of_the_command() -> str:
    """`gevent` or `eventlet` where the command that is starting is a Celery worker with that pool; else ""."""
    words = sys.orig_argv
    if "worker" not in words or not any(Path(word).name == "celery" for word in words[:4]):
        return ""
    for index, word in enumerate(words):
        name, equals, value = word.partition("=")
        if name in _OPTIONS:
            value = value if equals else "".join(words[index + 1 : index + 2])
        elif word.startswith("-P"):
            value = word[2:]
        else:
            continue
        return value if value in _LIBRARIES else ""
    return ""


def patch_as_celery_would() -> str:
    """Replace the standard library's parts for eventlet now, if the command will do it anyway; returns the pool."""
    pool = pool_of_the_command()
    if pool == "eventlet":
        from celery import maybe_patch_concurrency

        maybe_patch_concurrency(sys.orig_argv)
    return pool


def patched_by() -> str:
    """The library that has replaced threads by greenlets in this process; "" if none has."""
    if "gevent.monkey" in sys.modules and sys.modules["gevent.monkey"].is_module_patched("threading"):
        return "gevent"
    patcher = sys.modules.get("eventlet.patcher")
    return "eventlet" if patcher is not None and patcher.is_monkey_patched("thread") else ""
