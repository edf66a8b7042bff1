"""One thing of a request or worker at a time, many times over: what each costs is counted by `parts.py`."""
import asyncio
import functools
import itertools
import os

from django.contrib.auth import get_user_model
from django.contrib.sessions.backends.db import SessionStore
from django.core.cache import cache
from django.db import connection
from django.dispatch import Signal
from django.http import HttpResponse
from django.template import Context, engines

asked, quick = Signal(), Signal()


def ask(**kwargs):
    """A receiver in which something happens."""
    cache.get("menu")


def be_quick(**kwargs):
    """A receiver that is not worth a span."""


asked.connect(ask)
quick.connect(be_quick)


def nothing(request):
    return request


@functools.lru_cache
def wrapped():
    """The function behind a wrapper of clew's; without clew, itself."""
    try:
        from clew.engine.wrapper import Around
        from clew.story import local_trace
    except ImportError:
        return nothing
    return Around(lambda: True, close=lambda: None, state=local_trace.current)(nothing)


def wrapper():
    function = wrapped()
    return lambda: function(1)


def span():
    try:
        from clew.spans.scope import Scope
    except ImportError:
        return lambda: None
    scope, numbers = Scope("clew.seams.django.view"), itertools.count()

    def part():
        opened = scope.open(f"span {next(numbers)}", {"django.view.name": "app.views.page"})
        if opened is not None:
            opened.close()

    return part


def session():
    return SessionStore(os.environ["BENCH_SESSION"]).load


def permission():
    user = get_user_model().objects.first()
    user.has_perm("app.change_article")
    return lambda: user.has_perm("app.change_article")


def cached():
    return lambda: cache.get("menu")


def receiver():
    return lambda: asked.send(nothing)


def fast():
    return lambda: quick.send(nothing)


def query():
    cursor = connection.cursor()
    return lambda: cursor.execute("SELECT 1")


def include():
    """Calls itself in one template as often as is asked for."""
    engine = engines["django"]
    part, page = (engine.from_string(text).template for text in ("part", "{% for each in rows %}{% include part %}{% endfor %}"))
    return lambda times: page.render(Context({"rows": range(times), "part": part}))


async def talk(scope, receive, send):
    """A websocket's application, without Channels."""
    await receive()
    await send({"type": "websocket.accept"})
    while (await receive())["type"] == "websocket.receive":
        pass


def message():
    """Handles as many messages of one websocket as are asked for."""
    try:
        from clew.seams.asgi.websocket import _followed as followed
    except ImportError:
        followed = nothing
    scope = {"type": "websocket", "path": "/chat", "headers": [(b"host", b"testserver")]}

    def run(times):
        kinds = iter(["connect", *["receive"] * times, "disconnect"])

        async def receive():
            return {"type": f"websocket.{next(kinds)}", "text": "hello"}

        async def send(message):
            pass

        loop = asyncio.new_event_loop()
        loop.run_until_complete(followed(talk)(scope, receive, send))
        loop.close()

    return run


PARTS = {
    each.__name__: each for each in (wrapper, span, session, permission, cached, receiver, fast, query)
}
# Told how often, all at once.
AT_ONCE = {each.__name__: each for each in (include, message)}


def part(request, name, times):
    if name in AT_ONCE:
        AT_ONCE[name]()(1 + times)
        return HttpResponse("ok")
    run = PARTS[name]()
    run()
    for _ in range(times):
        run()
    return HttpResponse("ok")
