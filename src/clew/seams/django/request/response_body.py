"""A streamed body: the SERVER span stays open until its last byte, and is current while each part is made.

contrib ends the span when the response object exists, so what the body does becomes traces of its own
(docs/upstream.md, django 6, contrib #4681). The server iterates, or sends the file itself and closes the response: both
end it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import Token
from typing import Any

from opentelemetry.context import Context, attach, detach

from clew.engine import needs
from clew.engine.wrapper_steps import invisible
from clew.story import local_trace

_RESPONSE = "django.http.response"


class State:
    """Whether Django's responses hold their bodies where they are looked for."""

    is_possible = True


def _switch_off() -> None:
    State.is_possible = False


needs.declare(
    __name__,
    *needs.attributes(_RESPONSE, "StreamingHttpResponse", "_iterator", "is_async"),
    *needs.attributes(_RESPONSE, "HttpResponseBase", "_resource_closers"),
    consequence="the span of a request ends before its streamed body does",
    switch_off=_switch_off,
)


class _Body:
    def __init__(self, parts: Any, context: Context, local: local_trace.LocalTrace, end: Callable[..., None]) -> None:
        self._parts = parts
        self._context = context
        self._local = local
        self._end = end

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parts, name)

    def __del__(self) -> None:
        self._end(None)


class SyncBody(_Body):
    """The parts of a synchronous body."""

    def __iter__(self) -> Iterator[Any]:
        return self

    @invisible
    def __next__(self) -> Any:
        __traceback_hide__ = True
        token, local = attach(self._context), local_trace.enter(self._local)
        try:
            return next(self._parts)
        except StopIteration:
            self._end(None)
            raise
        except BaseException as error:
            self._end(error)
            raise
        finally:
            local_trace.leave(local)
            detach(token)


class AsyncBody(_Body):
    """The parts of an asynchronous body."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    @invisible
    async def __anext__(self) -> Any:
        __traceback_hide__ = True
        token, local = attach(self._context), local_trace.enter(self._local)
        try:
            return await self._parts.__anext__()
        except StopAsyncIteration:
            self._end(None)
            raise
        except BaseException as error:
            self._end(error)
            raise
        finally:
            local_trace.leave(local)
            detach(token)


def follow(response: Any, context: Context, local: local_trace.LocalTrace, end: Callable[..., None]) -> bool:
    """Keep the span open while the body of `response` is produced; `end(error)` is then called at least once.

    Returns:
        Whether there is a body to wait for.
    """
    if getattr(response, "streaming", False) is not True or not State.is_possible:
        return False
    kind = AsyncBody if getattr(response, "is_async", False) is True else SyncBody
    parts = getattr(response, "_iterator", None)
    if parts is None or not isinstance(response._resource_closers, list):
        return False
    response._iterator = kind(parts, context, local, end)
    response._resource_closers.append(Closer(context, local, end))
    return True


class Closer:
    """What a response calls when it is closed, and what says of which request it is.

    Args:
        context, local: the request's.
        end: ends its span, if it has not ended.
    """

    __slots__ = ("context", "end", "local")

    def __init__(self, context: Context, local: local_trace.LocalTrace, end: Callable[..., None]) -> None:
        self.context, self.local, self.end = context, local, end

    def __call__(self) -> None:
        """The response is being closed."""
        self.end(None)


def remember(response: Any, context: Context, local: local_trace.LocalTrace, end: Callable[..., None]) -> None:
    """Let what runs when a response is closed be below its request."""
    closers = getattr(response, "_resource_closers", None)
    if type(closers) is list and State.is_possible:
        closers.append(Closer(context, local, end))


def closing(response: Any, /) -> tuple[Token[Context], Any] | None:
    """A response is about to be closed: its closers and the receivers of `request_finished` belong to its request."""
    for each in response._resource_closers if State.is_possible else ():
        if type(each) is Closer:
            return attach(each.context), local_trace.enter(each.local)
    return None


def closed(opened: tuple[Token[Context], Any]) -> None:
    """It is closed."""
    local_trace.leave(opened[1])
    detach(opened[0])
