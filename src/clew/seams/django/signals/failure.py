"""A receiver that raises: what it raised is not known where that is seen, but where it arrives.

`send` leaves its loop, and all that is known then is that it did. The receiver's span waits until another span of the
request or task fails with an exception that came through that very loop.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from time import time_ns

from opentelemetry.trace import StatusCode

from clew import attributes as names
from clew.seams.django.signals.naming import DISPATCHER
from clew.spans.light_span import LightSpan
from clew.story import local_trace
from clew.story.local_trace import LocalTrace

_OTHER = "_OTHER"
_MAX_WAITING, _MAX_CAUSES = 50, 10


class Raised:
    """The span of a receiver that has raised something.

    Args:
        span: no longer current, not ended.
        loop: id of the frame that called the receiver.
    """

    __slots__ = ("_ended_ns", "_span", "loop")

    def __init__(self, span: LightSpan, loop: int) -> None:
        self._span, self.loop, self._ended_ns = span, loop, time_ns()

    def is_explained_by(self, error: BaseException) -> bool:
        """Whether this exception, or one that it came from, is what was raised; then the span is told and ends."""
        for each in _causes(error):
            step = each.__traceback__
            while step is not None:
                if id(step.tb_frame) == self.loop and step.tb_frame.f_globals.get("__name__") == DISPATCHER:
                    self._span.fail(each, self._ended_ns)
                    self._span.end(self._ended_ns)
                    return True
                step = step.tb_next
        return False

    def end(self) -> None:
        """End the span as failed: the application has caught the exception, whose class is not known any more."""
        self._span.note(names.ERROR_TYPE, _OTHER)
        self._span.set_status(StatusCode.ERROR)
        self._span.end(self._ended_ns)


def _causes(error: BaseException) -> Iterator[BaseException]:
    at: BaseException | None = error
    for _ in range(_MAX_CAUSES):
        if at is None:
            return
        yield at
        at = at.__cause__ or at.__context__


def wait(span: LightSpan, loop: int) -> None:
    """Have a receiver's span end when it is known what it raised, at the latest with the request or task."""
    local, raised = local_trace.current(), Raised(span, loop)
    if local is None or local.is_over:
        raised.end()
        return
    if local.unexplained is None:
        local.unexplained = []
        local.at_end.append(functools.partial(_end_all, local))
    # A frame of that id is another one by now.
    outdated = [each for each in local.unexplained if each.loop == loop]
    for each in outdated or local.unexplained[: 1 - _MAX_WAITING]:
        local.unexplained.remove(each)
        each.end()
    local.unexplained.append(raised)


def _end_all(local: LocalTrace) -> None:
    waiting, local.unexplained = local.unexplained or [], None
    for raised in waiting:
        raised.end()
