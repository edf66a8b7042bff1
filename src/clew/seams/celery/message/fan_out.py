"""Many sends of one task: which of them share a PRODUCER span, and which of their runs share the sender's trace.

A loop that sends 1,000 tasks was a trace of 4,000 spans. The first few sends of a task in a request or task are a span
each; from then on those of one line, to one queue, are one span that ends with the request or task, and whose context
all of their messages carry. Beyond the setting's number of runs a message says that its run begins a trace of its own,
linked to that span and sampled as it is. A run that is one of many has no further hundreds below it: what it sends in a
loop of its own begins traces of their own at once.
"""

from __future__ import annotations

from contextvars import ContextVar, Token
from types import FrameType
from typing import Any

from opentelemetry.trace import NonRecordingSpan, SpanContext, get_current_span, set_span_in_context

from clew import attributes as names
from clew.engine import configuration
from clew.seams.celery.message.headers import FAN_OUT, Place
from clew.source.call_site import CallSite
from clew.source.senders import sending_site
from clew.spans import folding
from clew.spans.current import attach
from clew.spans.light_span import LightSpan
from clew.spans.scope import OpenSpan
from clew.story.local_trace import LocalTrace, Slot
from clew.story.transactions import Publish

SEPARATE = 10
# A chord's body is linked to the runs of its header up to this one, in the trace that it was told.
MAX_HEADER_LINKS = 100
_MAX_TASKS, _MAX_FOLDS = 1000, 200


class Fold:
    """What one PRODUCER span stands for.

    Args:
        head: the span, of the first of them.
    """

    __slots__ = ("body_bytes", "context", "head", "last_id", "own_traces")

    def __init__(self, head: LightSpan) -> None:
        self.head = head
        self.context: SpanContext = head.context
        self.body_bytes = self.own_traces = 0
        self.last_id: Any = None

    def add(self, span: LightSpan, body_bytes: int) -> None:
        """Add a send that is over."""
        self.body_bytes += body_bytes
        self.last_id = span.attributes.get(names.MESSAGING_MESSAGE_ID)
        folding.stand_for(self.head, span)

    def end(self) -> None:
        """End the span, unless its own send is not over."""
        head = self.head
        if self.own_traces:
            head.note(names.CLEW_FAN_OUT_OWN_TRACES, self.own_traces)
        if head.is_recording():
            return
        if folding.stands_for_others(head):
            head.note(names.CLEW_FAN_OUT_FIRST_MESSAGE_ID, head.attributes.get(names.MESSAGING_MESSAGE_ID))
            head.note(names.CLEW_FAN_OUT_LAST_MESSAGE_ID, self.last_id)
            head.note(names.CLEW_FAN_OUT_BODY_SIZE, self.body_bytes)
        folding.end_waiting(head)


class FanOut:
    """What one request or task, or a canvas outside of any, has sent."""

    __slots__ = ("folds", "is_member", "is_over", "joined", "sent")

    def __init__(self) -> None:
        # How often, by the task's name; and how many of the runs are in this trace.
        self.sent: dict[str, int] = {}
        self.joined = 0
        self.folds: dict[Any, Fold] = {}
        self.is_member = self.is_over = False

    def place(self, task_name: str, body: Any, about: dict[str, Any]) -> Place | None:
        """Count a send of this message; None: it is one of the first."""
        count = self.sent.get(task_name, 0) + 1
        if count > 1 or len(self.sent) < _MAX_TASKS:
            self.sent[task_name] = count
        if count <= SEPARATE:
            self.joined += 1
            return None
        is_full = self.is_member or self.joined >= configuration.settings.fan_out
        is_own = is_full and not _is_linked(body, about)
        self.joined += not is_own
        return Place(count, is_own)

    def fold(self, key: Any, span: LightSpan) -> Fold | None:
        """What a send is folded into; None: it is a span of its own."""
        if self.is_over or not span.is_trivial:
            return None
        fold = self.folds.get(key)
        if fold is None and len(self.folds) < _MAX_FOLDS:
            fold = self.folds[key] = Fold(span)
        return fold

    def end(self) -> None:
        """End what is still open, before the request or task ends."""
        self.is_over = True
        folds, self.folds = self.folds, {}
        for fold in folds.values():
            fold.end()


_OF_LOCAL: Slot[FanOut] = Slot()
_sending: ContextVar[Sending | None] = ContextVar("clew_sending_task", default=None)


def join(local: LocalTrace) -> None:
    """Note that a run begins which is one of many in its sender's trace."""
    found = _of(local)
    if found is not None:
        found.is_member = True


def _of(local: LocalTrace | None) -> FanOut | None:
    if local is None:
        return None
    found = _OF_LOCAL.get(local)
    if found is None and local.root.span.is_recording():
        found = _OF_LOCAL.put(local, FanOut())
        local.at_end.append(found.end)
    return found


class Sending:
    """A send in progress: its span, what it is folded into, and what is known of its message.

    Args:
        span: its own, current.
        task_name: which task.
        local: the request or task that sends it.
        caller: where in the stack.
        connections: this thread's, with an open transaction.
    """

    __slots__ = (
        "_caller",
        "_fold",
        "_local",
        "_state",
        "_token",
        "body_bytes",
        "connections",
        "publish",
        "span",
        "task_name",
    )

    def __init__(
        self, span: OpenSpan, task_name: str, local: LocalTrace | None, caller: FrameType, connections: list[Any]
    ) -> None:
        self.span, self.task_name, self._local, self.connections = span, task_name, local, connections
        self._caller: FrameType | None = caller
        self._state: FanOut | None = None
        self._fold: Fold | None = None
        self.body_bytes = 0
        # What the detectors are told of it.
        self.publish: Publish | None = None
        self._token = _sending.set(self)

    @property
    def is_folded(self) -> bool:
        """Whether this send is folded into another span."""
        return self._fold is not None and self._fold.head is not self.span

    @property
    def span_in_use(self) -> OpenSpan:
        """The span of this send: its own, or the one it is folded into."""
        return self._fold.head if self._fold is not None else self.span

    def take_message(self, headers: dict[str, Any], body: Any, aliases: str) -> None:
        """Its message is about to leave: decide whose context it carries, and whose trace its run is in.

        Args:
            headers, body: the message's.
            aliases: of the transactions it is sent in.
        """
        span, about = self.span, body if isinstance(body, dict) else headers
        if type(span) is not LightSpan or get_current_span() is not span or about.get("retries"):
            return
        state = self._state = _of(self._local)
        place = state.place(self.task_name, body, about) if state is not None else None
        if place is None or state is None:
            return
        headers[FAN_OUT] = place.text()
        queue = span.attributes.get(names.MESSAGING_DESTINATION_NAME)
        self._fold = fold = state.fold((self.task_name, queue, aliases, str(self._site())), span)
        if fold is None:
            if place.is_own_trace:
                span.note(names.CLEW_FAN_OUT_OWN_TRACES, 1)
            return
        fold.own_traces += place.is_own_trace
        if fold.head is not span:
            # Until the span is closed, which restores what was current before it.
            attach(set_span_in_context(NonRecordingSpan(fold.context)))

    def _site(self) -> CallSite | None:
        known = self.publish.site if self.publish is not None else None
        return known or sending_site(self._caller)

    def close(self, error: BaseException | None = None) -> None:
        """End the send: the broker has the message, or has refused it."""
        _leave(self._token)
        fold, span, self._caller = self._fold, self.span, None
        if fold is None or type(span) is not LightSpan or self._state is None:
            span.close(error)
        elif span is not fold.head:
            if error is not None:
                span.close(error)
            else:
                fold.add(span, self.body_bytes)
        elif error is not None and not folding.stands_for_others(span):
            self._state.folds = {key: each for key, each in self._state.folds.items() if each is not fold}
            span.close(error)
        else:
            folding.wait(span, error)
            fold.body_bytes += self.body_bytes
            if self._state.is_over:
                fold.end()


def current() -> Sending | None:
    """The send in progress."""
    return _sending.get()


def _leave(token: Token[Sending | None]) -> None:
    try:
        _sending.reset(token)
    except ValueError:  # closed in another context
        pass


def _is_linked(body: Any, about: dict[str, Any]) -> bool:
    """Whether a chord's body will be linked to the run, where it expects it."""
    held = body if isinstance(body, dict) else body[2]
    index = about.get("group_index")
    return held.get("chord") is not None and type(index) is int and index < MAX_HEADER_LINKS
