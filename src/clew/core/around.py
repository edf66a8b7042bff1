"""The one wrapper most seams need: a span around a call, sync, async, or a generator, however it is called.

A seam says how to open (from the call's arguments) and, if it likes, what to note at the end; this file makes sure
that neither can hurt the call, that the caller gets the very result or exception, and that every span is closed in a
`finally`.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from opentelemetry.context import attach, detach
from opentelemetry.trace import set_span_in_context

from clew.core.spans import OpenSpan
from clew.engine import isolation, seam

Open = Callable[[tuple[Any, ...], dict[str, Any]], "OpenSpan | None"]
Done = Callable[[Any, Any, "BaseException | None"], None]


def around(open_span: Open, done: Done | None = None) -> seam.Wrap:
    """A wrap function for `seam.Patch`.

    Args:
        open_span: opens the span from the call's positional and keyword arguments, or returns None.
        done: called with the span, the result and the error before the span is closed.
    """

    def wrap(original: Any) -> Any:
        return seam.like(original, _wrapper(original, open_span, done))

    return wrap


def _wrapper(original: Any, open_span: Open, done: Done | None) -> Any:
    where = getattr(original, "__qualname__", repr(original))
    if inspect.iscoroutinefunction(original):
        return _asynchronous(original, open_span, done, where)
    if inspect.isgeneratorfunction(original):
        return _generator(original, open_span, done, where)
    if inspect.isasyncgenfunction(original):
        return _async_generator(original, open_span, done, where)
    return _synchronous(original, open_span, done, where)


def _synchronous(original: Any, open_span: Open, done: Done | None, where: str) -> Any:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True
        span = _open(open_span, args, kwargs, where)
        if span is None:
            return original(*args, **kwargs)
        error = result = None
        try:
            result = original(*args, **kwargs)
            return result
        except BaseException as raised:
            error = raised
            raise
        finally:
            close(span, done, result, error, where)
            del error

    return wrapper


def _asynchronous(original: Any, open_span: Open, done: Done | None, where: str) -> Any:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True
        span = _open(open_span, args, kwargs, where)
        if span is None:
            return await original(*args, **kwargs)
        error = result = None
        try:
            result = await original(*args, **kwargs)
            return result
        except BaseException as raised:
            error = raised
            raise
        finally:
            close(span, done, result, error, where)
            del error

    return wrapper


def _generator(original: Any, open_span: Open, done: Done | None, where: str) -> Any:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True
        span = _open(open_span, args, kwargs, where)
        generator = original(*args, **kwargs)
        if span is None:
            return (yield from generator)
        span.restore()
        context, error = set_span_in_context(_span_of(span)), None
        step: Callable[[], Any] = functools.partial(generator.send, None)
        try:
            while True:
                token = attach(context)
                try:
                    item = step()
                except StopIteration as stop:
                    return stop.value
                finally:
                    detach(token)
                try:
                    step = functools.partial(generator.send, (yield item))
                except GeneratorExit:
                    generator.close()
                    raise
                except BaseException as thrown:  # noqa: BLE001 - thrown into the generator, whatever it is
                    step = functools.partial(generator.throw, thrown)
        except BaseException as raised:
            error = raised
            raise
        finally:
            close(span, done, None, error, where)
            del error

    return wrapper


def _async_generator(original: Any, open_span: Open, done: Done | None, where: str) -> Any:
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        __traceback_hide__ = True
        span = _open(open_span, args, kwargs, where)
        generator = original(*args, **kwargs)
        context, error = None, None
        if span is not None:
            span.restore()
            context = set_span_in_context(_span_of(span))
        step: Callable[[], Any] = functools.partial(generator.asend, None)
        try:
            while True:
                token = attach(context) if context is not None else None
                try:
                    item = await step()
                except StopAsyncIteration:
                    return
                finally:
                    if token is not None:
                        detach(token)
                try:
                    step = functools.partial(generator.asend, (yield item))
                except GeneratorExit:
                    await generator.aclose()
                    raise
                except BaseException as thrown:  # noqa: BLE001 - thrown into the generator, whatever it is
                    step = functools.partial(generator.athrow, thrown)
        except BaseException as raised:
            error = raised
            raise
        finally:
            if span is not None:
                close(span, done, None, error, where)
            del error

    return wrapper


def _span_of(span: OpenSpan) -> Any:
    return getattr(span, "span", span)


def _open(open_span: Open, args: Any, kwargs: Any, where: str) -> OpenSpan | None:
    try:
        return open_span(args, kwargs)
    except Exception as ours:  # noqa: BLE001 - ours must not reach the application
        isolation.report(ours, where)
        return None


def close(span: OpenSpan, done: Done | None, result: Any, error: BaseException | None, where: str) -> None:
    """Note what `done` notes, then close the span; errors of ours are reported, never raised."""
    try:
        if done is not None:
            done(span, result, error)
    except Exception as ours:  # noqa: BLE001 - ours must not reach the application
        isolation.report(ours, where)
    try:
        span.close(error)
    except Exception as ours:  # noqa: BLE001 - ours must not reach the application
        isolation.report(ours, where)
