"""A streamed body: the SERVER span stays open until its last byte, and is current while each part is made.

A body that goes on and on (server-sent events) is told every `max_stream_seconds`: the request's span ends, and what
follows is `stream <route>`, the first span of a trace that is linked to the request.

contrib ends the span when the response object exists, so what the body does becomes traces of its own
(docs/upstream.md, django 6, contrib #4681). The server iterates, or sends the file itself and closes the response: both
end it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from contextvars import Token
from time import monotonic
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import INVALID_SPAN, Link, SpanKind, set_span_in_context

from clew import attributes as names
from clew.engine import configuration, isolation, needs
from clew.engine.wrapper_steps import invisible
from clew.spans import scope as spans
from clew.spans.current import attach, detach
from clew.spans.scope import OpenSpan
from clew.story import local_trace

_SCOPE = "clew.seams.django.request"
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
    """The parts of a body, each made in the context of its request, or, later on, of a span that is linked to it."""

    def __init__(self, parts: Any, context: Context, local: local_trace.LocalTrace, end: Callable[..., None]) -> None:
        self._parts, self._context, self._local, self._end_request = parts, context, local, end
        self._began, self._number = monotonic(), 0
        self._going_on: OpenSpan | None = None
        # Of the request, which is over before its body is.
        self._name = f"stream {getattr(local.root.span, 'name', '').partition(' ')[2]}".rstrip()
        self._opening = local.root.span.get_span_context()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._parts, name)

    def __del__(self) -> None:
        self.end(None)

    def end(self, error: BaseException | None) -> None:
        """The body is over."""
        self._end_going_on(error)
        self._end_request(error)

    def _enter(self) -> Any:
        seconds = configuration.settings.max_stream_seconds
        if seconds and self._local.is_recording and monotonic() - self._began > seconds:
            try:
                self._go_on()
            except Exception as ours:  # noqa: BLE001 - ours must not reach the application
                isolation.report(ours, __name__)
        return attach(self._context), local_trace.enter(self._local)

    def _go_on(self) -> None:
        """Tell what there is so far; what follows is the first span of another trace."""
        self._end_going_on(None)
        self._end_request(None, is_over=False)
        self._began, self._number = monotonic(), self._number + 1
        context, pipeline = set_span_in_context(INVALID_SPAN, self._context), spans.pipeline()
        if pipeline is None:
            return
        opening = self._opening
        said = {
            names.DJANGO_STREAM_NUMBER: self._number,
            names.DJANGO_STREAM_TRACE_ID: f"{opening.trace_id:032x}",
            names.DJANGO_STREAM_SPAN_ID: f"{opening.span_id:016x}",
        }
        links = [Link(opening, {names.CLEW_LINK_KIND: "request"})]
        root = spans.start_root(pipeline, _SCOPE, self._name, SpanKind.SERVER, context, said, links)
        if root is not None:
            where, self._going_on = self._local.where, root
            self._local = local_trace.LocalTrace(root, pipeline.max_spans_per_trace)
            self._local.where, self._context = where, set_span_in_context(root.span, context)

    def _end_going_on(self, error: BaseException | None) -> None:
        root, self._going_on = self._going_on, None
        if root is None:
            return
        try:
            self._local.finish()
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, __name__)
        root.close(error)


def _leave(entered: Any) -> None:
    local_trace.leave(entered[1])
    detach(entered[0])


class SyncBody(_Body):
    """The parts of a synchronous body."""

    def __iter__(self) -> Iterator[Any]:
        return self

    @invisible
    def __next__(self) -> Any:
        __traceback_hide__ = True
        entered = self._enter()
        try:
            return next(self._parts)
        except StopIteration:
            self.end(None)
            raise
        except BaseException as error:
            self.end(error)
            raise
        finally:
            _leave(entered)


class AsyncBody(_Body):
    """The parts of an asynchronous body."""

    def __aiter__(self) -> AsyncIterator[Any]:
        return self

    @invisible
    async def __anext__(self) -> Any:
        __traceback_hide__ = True
        entered = self._enter()
        try:
            return await self._parts.__anext__()
        except StopAsyncIteration:
            self.end(None)
            raise
        except BaseException as error:
            self.end(error)
            raise
        finally:
            _leave(entered)


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
    body = response._iterator = kind(parts, context, local, end)
    response._resource_closers.append(Closer(context, local, body.end))
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
