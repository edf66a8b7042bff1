"""An async view below greenlets, with clew and without.

`python -m tests.green.async_program gevent|eventlet clew|nothing` prints the answers, what was found, and the threads
of the watch.
"""

# ruff: noqa: E402 - threads are replaced before anything else is imported

from __future__ import annotations

import sys
import warnings

warnings.simplefilter("ignore")
if sys.argv[1] == "gevent":
    from gevent import monkey

    monkey.patch_all()
else:
    import eventlet

    eventlet.monkey_patch()

import asyncio
import contextlib
import threading
import time

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="test", ALLOWED_HOSTS=["*"], ROOT_URLCONF=__name__, MIDDLEWARE=[], INSTALLED_APPS=[], DATABASES={}
)
django.setup()

from django.http import HttpResponse
from django.test import AsyncClient, Client
from django.urls import path

from clew.testing import tracing


async def view(request):
    time.sleep(0.2)
    return HttpResponse("answer")


urlpatterns = [path("", view)]


def main():
    traced = sys.argv[2] == "clew"
    found = []
    with tracing(blocking_on_loop_threshold_ms=20) if traced else contextlib.nullcontext() as trace:
        answers = [Client().get("/").content.decode() for _ in range(2)]
        answers += [asyncio.run(AsyncClient().get("/")).content.decode() for _ in range(2)]
        if trace is not None:
            found = [each.type for each in trace.findings]
    print(answers, found, [each.name for each in threading.enumerate() if "loop-watch" in each.name])


if __name__ == "__main__":
    main()
