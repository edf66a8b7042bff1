"""The receivers of one `send`, as its loop calls them one after another: what each took, and whether it is a span.

The list that `send` walks is the only thing that is ours: between two receivers the walk comes by here. So a receiver
is called by Django itself, with nothing between them, and what `send` gives back is what it would have given.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from time import time_ns
from types import FrameType, GeneratorType
from typing import Any, Final

from clew import attributes as names
from clew.engine import configuration, isolation
from clew.seams.django.signals import failure
from clew.seams.django.signals.naming import DISPATCHER, sender_name, signal_name
from clew.spans import scope as spans
from clew.spans.current import SUPPRESS, get_current
from clew.spans.folded_run import RunCursor
from clew.spans.scope import Scope, parent_in
from clew.spans.spare import Spare
from clew.story import local_trace
from clew.story.local_trace import LocalTrace, Slot
from clew.story.receiving import KEY, Receiver, Receiving, described

SCOPE = Scope("clew.seams.django.signals")
# What a span is called until it is known whether it is one.
UNNAMED = "receiver"
# These catch what a receiver raises, and keep it beside the receiver.
_ROBUST = ("send_robust", "sync_send")
_MAX_STEPS = 4
_tally: Slot[Tally] = Slot()


class Tally:
    """What a request or task spent in receivers.

    Args:
        local: the request or task.
    """

    __slots__ = ("_local", "count", "duration_ns")

    def __init__(self, local: LocalTrace) -> None:
        self._local = local
        self.count = self.duration_ns = 0
        local.at_end.append(self._note_on_root)

    def _note_on_root(self) -> None:
        self._local.root.note(names.CLEW_SIGNAL_RECEIVER_COUNT, self.count)
        self._local.root.note(names.CLEW_SIGNAL_DURATION_MS, round(self.duration_ns / 1e6, 3))


def threshold_ns() -> int:
    """From which duration on a receiver is a span."""
    return int(configuration.settings.receiver_threshold_ms * 1e6)


def spare_for(receiving: Receiving) -> Spare | None:
    """A span for what is received here; None where none can be taken back."""
    context, pipeline, local = get_current(), spans.pipeline(), local_trace.current()
    if context.get(SUPPRESS) or pipeline is None or not pipeline.allows_light_spans:
        return None
    if local is not None and local.spans_left <= 0:
        return None
    parent = parent_in(context)
    if type(parent) is RunCursor:
        parent = parent.resolve()
    return None if parent is None else Spare(SCOPE, UNNAMED, parent, context, {KEY: receiving})


class Delivery:
    """Signals on their way through receivers that are called one after another, below one span."""

    __slots__ = ("_is_inner", "_tally", "receiving", "spare", "threshold_ns")

    def __init__(self, local: LocalTrace | None) -> None:
        self.receiving = Receiving()
        self.spare = spare_for(self.receiving)
        self.threshold_ns = threshold_ns()
        local = local or local_trace.of_current_span()
        self._tally = None if local is None else _tally.get(local) or _tally.put(local, Tally(local))
        self._is_inner = get_current().get(KEY) is not None

    def count(self, number: int, took_ns: int) -> None:
        """Take account of receivers that have been called."""
        if self._tally is not None:
            self._tally.count += number
            self._tally.duration_ns += 0 if self._is_inner else took_ns

    def returned(self, took_ns: int, what: tuple[Any, Any], loop: FrameType) -> None:
        """Make the span of a receiver that has returned to `loop`, if it is worth one."""
        spare = self.spare
        has_something = spare is not None and spare.span is not None and not spare.span.is_trivial
        error = caught(loop) if loop.f_code.co_name in _ROBUST else None
        found = described(self.receiving.receiver)
        # Django's own, of each request, are of no interest for having waited.
        is_long = took_ns >= self.threshold_ns and not found.is_djangos
        if not (has_something or is_long or error is not None):
            return
        name, attributes = name_and_attributes(found, *what, self.receiving.receiver, loop)
        if spare is not None and spare.span is not None:
            spare.keep(name, attributes, (found.name, *map(id, what)), error)
            return
        parent = parent_in(get_current())
        late = None if parent is None else SCOPE.under(parent, name, attributes, start_ns=time_ns() - took_ns)
        if late is not None:
            late.close(error)

    def failed(self, what: tuple[Any, Any], loop: FrameType) -> None:
        """Make the span of a receiver that has raised something which leaves `send`."""
        if self.spare is not None and self.spare.span is not None:
            receiver = self.receiving.receiver
            kept = self.spare.keep_open(*name_and_attributes(described(receiver), *what, receiver, loop))
            failure.wait(kept, id(loop))


def caught(frame: FrameType) -> Exception | None:
    """What the receiver that was called last has raised, where the loop catches it."""
    responses = frame.f_locals.get("responses")
    result: Any = responses[-1][1] if responses else None
    # A receiver may also return one.
    return result if issubclass(type(result), Exception) and result.__traceback__ is not None else None


def name_and_attributes(
    found: Receiver, signal: Any, sender: Any, receiver: Any, frame: FrameType | None
) -> tuple[str, dict[str, Any]]:
    """Name and attributes of a receiver's span."""
    attributes = {names.DJANGO_SIGNAL_RECEIVER: found.name, **found.attributes}
    if name := signal_name(signal, receiver, frame):
        attributes[names.DJANGO_SIGNAL_NAME] = name
    if name := sender_name(sender):
        attributes[names.DJANGO_SIGNAL_SENDER] = name
    return f"receiver {found.short_name}", attributes


class Receivers(list[Any]):
    """The receivers that `send` calls one after another."""

    __slots__ = ("what",)
    # The signal and its sender; of the sender only its class is asked.
    what: tuple[Any, Any]

    def __iter__(self) -> Iterator[Any]:
        """The very receivers; only Django's own loops are followed."""
        left, loop, local = list.__iter__(self), sys._getframe(1), local_trace.current()
        delivery = _taken(local) if loop.f_globals.get("__name__") == DISPATCHER else None
        if delivery is None:
            yield from left
            return
        spare, receiving, threshold_ns = delivery.spare, delivery.receiving, delivery.threshold_ns
        span = None if spare is None else spare.span
        number, total_ns, began_ns, is_robust = 0, 0, 0, loop.f_code.co_name in _ROBUST
        try:
            for receiver in left:
                receiving.receiver = receiver
                began_ns = time_ns()
                if span is not None:
                    span.start_time = began_ns
                yield receiver
                took_ns, began_ns = time_ns() - began_ns, 0
                number += 1
                total_ns += took_ns
                if took_ns >= threshold_ns or is_robust or not (span is None or span.is_trivial):
                    delivery.returned(took_ns, self.what, loop)
                    if span is not None and spare is not None and spare.span is None:
                        span = spare.enter() if number < len(self) else None
        except Exception as ours:  # noqa: BLE001 - nobody throws into a loop's iterator
            isolation.report(ours, SCOPE.name)
        finally:
            if began_ns:
                number, total_ns = number + 1, total_ns + time_ns() - began_ns
            delivery.count(number, total_ns)
            _put_back(delivery, local, self.what if began_ns else None, loop)
        yield from left


def end_loop(error: BaseException | None) -> None:
    """`send` may have been left by an exception: a list comprehension then keeps its iterator as long as its frame is.

    Only in Django 4.2, with Python up to 3.11.
    """
    step = None if error is None else error.__traceback__
    for _ in range(_MAX_STEPS):
        if step is None:
            return
        if step.tb_frame.f_code.co_name == "<listcomp>":
            walk = step.tb_frame.f_locals.get(".0")
            if type(walk) is GeneratorType and walk.gi_code is Receivers.__iter__.__code__:
                walk.close()
            return
        step = step.tb_next


# The one that is not in use. Another thread, or a receiver, that sends something meanwhile makes its own.
_IDLE: Final = object()


def _taken(local: LocalTrace | None) -> Delivery | None:
    """What follows the receivers, its span current."""
    try:
        found: Delivery | None = None if local is None else local.held.pop(_IDLE, None)
        spare = None if found is None else found.spare
        if spare is None or not spare.fits(get_current()):
            found = Delivery(local)
            spare = found.spare
        if spare is not None:
            spare.enter()
    except Exception as ours:  # noqa: BLE001 - ours must not reach the application
        isolation.report(ours, SCOPE.name)
        return None
    return found


def _put_back(delivery: Delivery, local: LocalTrace | None, failed: tuple[Any, Any] | None, loop: FrameType) -> None:
    """Restore the state when all receivers have been called, or one has failed."""
    try:
        if failed is not None:
            delivery.failed(failed, loop)
        if delivery.spare is not None:
            delivery.spare.leave()
        if local is not None and not local.is_over:
            local.held[_IDLE] = delivery
    except Exception as ours:  # noqa: BLE001 - ours must not reach the application
        isolation.report(ours, SCOPE.name)
    delivery.receiving.receiver = None
