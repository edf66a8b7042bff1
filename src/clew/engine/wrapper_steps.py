"""Generators under a wrapper: what they run belongs to the span, what their consumer does between two steps not."""

from __future__ import annotations

import functools
from collections.abc import AsyncGenerator, Callable, Generator
from types import FunctionType
from typing import Any, Protocol, TypeVar

from clew.engine import isolation
from clew.engine.wrapper_source import FILE_NAME

_Function = TypeVar("_Function", bound=Callable[..., Any])
# A place's `note` and `close`, called with `opened` and `error`.
Hooks = tuple[Callable[[Any, "BaseException | None"], Any], ...]


class Steps(Protocol):
    """What is open while a generator runs.

    One whose `is_lazy` is False stays current from the first step to the last: no other code runs between them.
    """

    def enter(self) -> None:
        """Make the span current for one step."""

    def restore(self) -> None:
        """Make current again what was current before the step."""


def invisible(function: _Function) -> _Function:
    """Let warnings and logging look through a function's frame, as through a wrapper's; a decorator."""
    assert isinstance(function, FunctionType)
    function.__code__ = function.__code__.replace(co_filename=FILE_NAME)
    return function


@invisible
def follow(iterator: Generator[Any, Any, Any], opened: Steps, hooks: Hooks, place: str) -> Any:
    """The generator's own items and result, each step with `opened` current."""
    __traceback_hide__ = True
    is_lazy = getattr(opened, "is_lazy", True)
    if is_lazy:
        _guarded(opened.restore, place)
    step: Callable[[], Any] = functools.partial(iterator.send, None)
    error = None
    try:
        if not is_lazy:
            return (yield from iterator)
        while True:
            _guarded(opened.enter, place)
            try:
                item = step()
            except StopIteration as stop:
                return stop.value
            finally:
                _guarded(opened.restore, place)
            try:
                step = functools.partial(iterator.send, (yield item))
            except GeneratorExit:
                iterator.close()
                raise
            except BaseException as thrown:  # noqa: BLE001 - thrown into the generator, whatever it is
                step = functools.partial(iterator.throw, thrown)
    except BaseException as raised:
        error = raised
        raise
    finally:
        _end(hooks, opened, error, place)
        del error


@invisible
async def follow_async(
    iterator: AsyncGenerator[Any, Any], opened: Steps | None, hooks: Hooks, place: str
) -> AsyncGenerator[Any, Any]:
    """As `follow`, of an async generator."""
    __traceback_hide__ = True
    steps = opened if getattr(opened, "is_lazy", True) else None
    if steps is not None:
        _guarded(steps.restore, place)
    step: Callable[[], Any] = functools.partial(iterator.asend, None)
    error = None
    try:
        while True:
            if steps is not None:
                _guarded(steps.enter, place)
            try:
                item = await step()
            except StopAsyncIteration:
                return
            finally:
                if steps is not None:
                    _guarded(steps.restore, place)
            try:
                step = functools.partial(iterator.asend, (yield item))
            except GeneratorExit:
                await iterator.aclose()
                raise
            except BaseException as thrown:  # noqa: BLE001 - thrown into the generator, whatever it is
                step = functools.partial(iterator.athrow, thrown)
    except BaseException as raised:
        error = raised
        raise
    finally:
        if opened is not None:
            _end(hooks, opened, error, place)
        del error


def _end(hooks: Hooks, opened: Steps, error: BaseException | None, place: str) -> None:
    for hook in hooks:
        _guarded(functools.partial(hook, opened, error), place)


def _guarded(call: Callable[[], Any], place: str) -> None:
    try:
        call()
    except Exception as ours:  # noqa: BLE001 - ours must not reach the application
        isolation.report(ours, place)
