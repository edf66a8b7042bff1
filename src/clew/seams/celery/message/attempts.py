"""Where a run comes from: its parent and its links, the same for a run and for what the main process tells of it.

Its parent is the publish span. Attempts of one task are siblings below the first publish, each linked to the one before
and to the publish that sent it: contrib nests them, publish below run below publish, and a task that is tried ten times
is twenty levels deep (docs/upstream.md, celery 6).
"""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, NamedTuple

from opentelemetry import propagate
from opentelemetry.attributes import BoundedAttributes
from opentelemetry.context import Context, get_current
from opentelemetry.propagate import get_global_textmap
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    NonRecordingSpan,
    SpanContext,
    TraceFlags,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)
from opentelemetry.trace.propagation import _SPAN_KEY

from clew import attributes as names
from clew.engine import configuration, needs
from clew.seams.celery import contrib
from clew.seams.celery.message.headers import ATTEMPTS, CHORD, FAN_OUT, read_attempts, read_place, write_attempts
from clew.seams.celery.message.values import count_of
from clew.spans import scope as spans
from clew.spans.usual_propagators import are_usual

Attributes = dict[str, Any]
needs.declare(
    __name__,
    *needs.attributes("opentelemetry.propagators.composite", "CompositePropagator", "_propagators"),
    consequence="every run asks the propagators, which costs it half a span more",
)


# Baggage's own limit; what is longer, or no text, was written by no propagator.
_MAX_CARRIED, _MAX_VALUES = 8192, 64


class HeaderGetter(Getter[Any]):
    """Reads a header from Celery's context of a request, where it is an attribute or, by protocol 1, kept apart."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        """The header's values."""
        value = vars(carrier).get(key)
        if value is None:
            value = self._apart(carrier).get(key)
        if value is None:
            return None
        given = value if isinstance(value, (list, tuple)) else (value,)
        return [each for each in given[:_MAX_VALUES] if type(each) is str and len(each) <= _MAX_CARRIED] or None

    def keys(self, carrier: Any) -> list[str]:
        """Names of all headers."""
        return [*vars(carrier), *self._apart(carrier)]

    @staticmethod
    def _apart(carrier: Any) -> Mapping[str, Any]:
        headers = carrier.headers
        return headers if isinstance(headers, Mapping) else {}


getter = HeaderGetter()


def header(request: Any, key: str) -> Any:
    """A header of clew's own, as it was sent; None where it is not there."""
    value = vars(request).get(key)
    if value is None:
        apart = request.headers
        value = apart.get(key) if isinstance(apart, dict) else None
    return value


def retries_of(request: Any) -> int:
    """How often this task was tried before."""
    return count_of(request.retries) or 0


class Origin(NamedTuple):
    """Where a run comes from.

    Args:
        context: that it starts in, with its parent and the baggage.
        links: to its publish, and to the attempt before.
        first: the publish of the first attempt; None where nobody knows, or where it is in another trace.
        is_own_trace: it begins a trace of its own, decided on as if it were below its parent.
        is_member: it is one of many in its sender's trace.
    """

    context: Context
    links: tuple[Link, ...]
    first: SpanContext | None
    is_own_trace: bool = False
    is_member: bool = False


class _Attempt(NamedTuple):
    task_id: Any
    retries: int
    first: SpanContext | None
    span: Any
    chord: Any


# By the task's id: number of the retry, the first publish, and the attempt before.
_eager_retries: OrderedDict[Any, tuple[int, SpanContext | None, SpanContext]] = OrderedDict()
_MAX_EAGER_RETRIES = 1000
_current: ContextVar[_Attempt | None] = ContextVar("clew_attempt", default=None)


def enter(request: Any, first: SpanContext | None, span: Any) -> Any:
    """From now on, a retry of this task that is sent is its next attempt; give what is returned to `leave`."""
    return _current.set(_Attempt(request.id, retries_of(request), first, span, chord_of(request)))


def leave(token: Any) -> None:
    """Undo `enter`. A token of another context is ignored."""
    try:
        _current.reset(token)
    except ValueError:
        pass


@contextmanager
def attempting(request: Any, first: SpanContext | None, span: Any) -> Iterator[None]:
    """A retry of this task that is sent inside is its next attempt, linked to `span`."""
    token = enter(request, first, span)
    try:
        yield
    finally:
        leave(token)


def attempts_header(task_id: Any, retries: Any) -> str | None:
    """What the message of a retry says of the attempts before; None for any other message."""
    attempt = _current.get()
    if attempt is None or attempt.task_id != task_id or (count_of(retries) or 0) <= attempt.retries:
        return None
    return write_attempts(attempt.first, attempt.span.get_span_context())


def pass_to_next(request: Any, first: SpanContext | None, span: Any) -> None:
    """An eager retry is no message: what the headers of one would say is kept until it begins."""
    _eager_retries[request.id] = retries_of(request) + 1, first, span.get_span_context()
    if len(_eager_retries) > _MAX_EAGER_RETRIES:
        _eager_retries.popitem(last=False)


def is_next_attempt(task_id: Any, retries: Any) -> bool:
    """Whether an eager call is the next attempt of an eager run."""
    return task_id in _eager_retries and _eager_retries[task_id][0] == retries


def reset() -> None:
    """Forget the eager runs that are to be retried."""
    _eager_retries.clear()


def chord_of(request: Any) -> Any:
    """What the message of a chord's body says of its header; None of any other, and of `chord_unlock`."""
    return header(request, CHORD) if vars(request).get("task") != "celery.chord_unlock" else None


def is_others_chord(task_id: Any, chord: Any) -> bool:
    """Whether a message says the chord of the run that sends it: passed on with `headers=self.request.headers`."""
    attempt = _current.get()
    return attempt is not None and attempt.chord == chord and attempt.task_id != task_id


def origin_of(request: Any, attributes: Attributes) -> Origin:
    """Where a run comes from; notes the links' targets, which backends drop, among the attributes.

    Args:
        request: Celery's context of it.
        attributes: those its span will have.
    """
    # Only a retry's: a site may give its request's headers on to another task.
    if request.is_eager:
        return _eager(request, attributes)
    is_retry = retries_of(request) > 0
    first, previous = read_attempts(header(request, ATTEMPTS)) if is_retry else (None, None)
    # Nothing of the worker's own context: what a task leaves behind must not become the parent of the next.
    context = _extracted(request)
    published = get_current_span(context).get_span_context()
    if not published.is_valid:
        return Origin(context, _to_previous(previous, attributes), None)
    attributes[names.CELERY_LINKED_TRACE_ID] = format_trace_id(published.trace_id)
    attributes[names.CELERY_LINKED_SPAN_ID] = format_span_id(published.span_id)
    links = (_link(published, "publish"), *_to_previous(previous, attributes))
    if first is not None and first.span_id != published.span_id:
        links = (_link(first, "first_publish"), *links)
        context = set_span_in_context(NonRecordingSpan(first), context)
    place = None if is_retry else read_place(header(request, FAN_OUT))
    if place is not None:
        attributes[names.CLEW_FAN_OUT_POSITION] = place.position
    if configuration.settings.task_parent == "link" or contrib.State.use_span_links:
        context = set_span_in_context(INVALID_SPAN, context)
    elif place is not None and place.is_own_trace and _allows_own_traces():
        attributes[names.CLEW_FAN_OUT_OWN_TRACE] = True
        return Origin(context, links, None, is_own_trace=True)
    return Origin(context, links, first or published, is_member=place is not None)


def _allows_own_traces() -> bool:
    pipeline = spans.pipeline()
    return pipeline is not None and pipeline.allows_light_roots


def _extracted(request: Any) -> Context:
    """What the message's headers say, by the propagators in use.

    The usual header of the usual propagators is read here: asking them costs as much as half a span.
    """
    held = vars(request)
    text = held.get("traceparent")
    if type(text) is str and "tracestate" not in held and "baggage" not in held and are_usual(get_global_textmap()):
        found = _TRACEPARENT.fullmatch(text)
        if found is not None:
            flags = TraceFlags(int(found[3], 16))
            context = SpanContext(int(found[1], 16), int(found[2], 16), is_remote=True, trace_flags=flags)
            return Context({_SPAN_KEY: NonRecordingSpan(context)}) if context.is_valid else Context()
    return propagate.extract(request, Context(), getter)


_TRACEPARENT = re.compile("00-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})")


def _eager(request: Any, attributes: Attributes) -> Origin:
    handed = _eager_retries.pop(request.id, None)
    is_retry = handed is not None and handed[0] == request.retries
    first, previous = handed[1:] if handed is not None and is_retry else (None, None)
    context = get_current()
    if first is not None:
        context = set_span_in_context(NonRecordingSpan(first), context)
    above = first or get_current_span(context).get_span_context()
    return Origin(context, _to_previous(previous, attributes), above if above.is_valid else None)


def _to_previous(previous: SpanContext | None, attributes: Attributes) -> tuple[Link, ...]:
    if previous is None:
        return ()
    attributes[names.CELERY_PREVIOUS_TRACE_ID] = format_trace_id(previous.trace_id)
    attributes[names.CELERY_PREVIOUS_SPAN_ID] = format_span_id(previous.span_id)
    return (_link(previous, "previous_attempt"),)


_KINDS = {
    kind: BoundedAttributes(attributes={names.CLEW_LINK_KIND: kind})
    for kind in ("publish", "first_publish", "previous_attempt")
}


def _link(to: SpanContext, kind: str) -> Link:
    return Link(to, _KINDS[kind])
