"""Receivers that are coroutines: `send` makes all of them first, then they run at the same time, each in a task.

From Django 6.1 on these tasks share one context, so that nothing may stay current while a receiver waits: its span is
current for each of its steps.
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Iterator
from types import CoroutineType
from typing import Any

from clew.engine import isolation
from clew.engine.wrapper_steps import invisible
from clew.seams.django.signals.delivery import SCOPE, name_and_attributes, spare_for, threshold_ns
from clew.seams.django.signals.naming import DISPATCHER
from clew.spans.light_span import LightSpan
from clew.spans.spare import Spare
from clew.story.receiving import Receiving, described


class AsyncReceivers(list[Any]):
    """The receivers that are run at the same time.

    Args:
        receivers: what Django has found.
        signal, sender: see `delivery.Delivery`.
    """

    def __init__(self, receivers: list[Any], signal: Any, sender: Any) -> None:
        super().__init__(receivers)
        self._what = signal, sender
        self._are_called = False

    def __iter__(self) -> Iterator[Any]:
        """First what Django's own loops call, then the very receivers, which are put beside the results."""
        if self._are_called or sys._getframe(1).f_globals.get("__name__") != DISPATCHER:
            return list.__iter__(self)
        self._are_called = True
        return iter([_Called(each, *self._what) for each in list.__iter__(self)])


class _Called:
    """Stands for a receiver while it is called."""

    def __init__(self, receiver: Any, signal: Any, sender: Any) -> None:
        self._receiver, self._what = receiver, (signal, sender)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._receiver, name)

    @invisible
    def __call__(self, /, **named: Any) -> Any:
        __traceback_hide__ = True
        made = self._receiver(**named)
        return Followed(made, self._receiver, *self._what) if type(made) is CoroutineType else made


class Followed(Coroutine[Any, Any, Any]):
    """A receiver's coroutine, which it answers for in everything, with the receiver's span current at each step."""

    def __init__(self, coroutine: Coroutine[Any, Any, Any], receiver: Any, signal: Any, sender: Any) -> None:
        self._coroutine, self._what = coroutine, (signal, sender, receiver)
        self._has_begun = False
        self._spare: Spare | None = None
        self._span: LightSpan | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._coroutine, name)

    def __await__(self) -> Any:
        return self

    def __iter__(self) -> Any:
        return self

    @invisible
    def send(self, value: Any = None) -> Any:
        """Run the next step."""
        __traceback_hide__ = True
        self._enter()
        try:
            waits_for = self._coroutine.send(value)
        except BaseException as error:
            self._end(error)
            raise
        self._leave()
        return waits_for

    __next__ = send

    @invisible
    def throw(self, *raised: Any) -> Any:
        """Run the next step with an exception thrown into it."""
        __traceback_hide__ = True
        self._enter()
        try:
            waits_for = self._coroutine.throw(*raised)
        except BaseException as error:
            self._end(error)
            raise
        self._leave()
        return waits_for

    def close(self) -> None:
        """Close the coroutine where it waits."""
        self._coroutine.close()
        self._enter()
        self._end(None)

    def _enter(self) -> None:
        try:
            if not self._has_begun:
                self._has_begun = True
                receiving = Receiving()
                receiving.receiver = self._what[2]
                self._spare = spare_for(receiving)
                self._span = None if self._spare is None else self._spare.enter()
            elif self._spare is not None:
                self._spare.resume()
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, SCOPE.name)

    def _leave(self) -> None:
        if self._spare is not None:
            self._spare.pause()

    def _end(self, raised: BaseException | None) -> None:
        """End the span; the exception is raised without this frame in its traceback."""
        if raised is not None and raised.__traceback__ is not None:
            raised.__traceback__ = raised.__traceback__.tb_next
        error = None if isinstance(raised, StopIteration) else raised
        try:
            self._leave()
            span, spare = self._span, self._spare
            if span is None or spare is None:
                return
            receiver = described(self._what[2])
            is_long = span.elapsed_ns >= threshold_ns() and not receiver.is_djangos
            if is_long or not span.is_trivial or error is not None:
                spare.keep(
                    *name_and_attributes(receiver, *self._what, None), (receiver.name, *map(id, self._what[:2])), error
                )
            else:
                spare.leave()
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, SCOPE.name)
        finally:
            self._spare = self._span = None
