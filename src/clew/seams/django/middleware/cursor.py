"""Where a request is in its middleware chain: one object, current for the whole chain, that becomes spans on demand.

Attaching a context for each of twenty phases would cost more than they take. The cursor is attached once; who asks it
for its span context (a child, an outgoing header) turns the phase into a span, who sets an attribute on it reaches the
request's span, as under contrib.
"""

from __future__ import annotations

from itertools import compress
from operator import sub
from time import time_ns
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Span, SpanContext
from opentelemetry.trace.propagation import _SPAN_KEY

from clew import attributes as names
from clew.engine import configuration
from clew.engine.http_answer import is_answer
from clew.seams.django.middleware.layer import Layer, Phase, Timings
from clew.seams.django.request import call_request_hook
from clew.settings import Settings
from clew.spans.current import attach, detach, get_current
from clew.spans.forwarding import ForwardingSpan
from clew.spans.scope import OpenSpan, Scope
from clew.story import local_trace
from clew.story.local_trace import LocalTrace

SCOPE = Scope("clew.seams.django.middleware")
# A middleware may call the ones below it again and again: what is over by then is written down.
_MAX_STAMPS = 200
_MAX_SEQUENCES = 100
# A phase is worth a span that took one part of so many of the chain's time, or this long: a busy machine, and Django's
# hops between threads under ASGI, make every phase longer than any short fixed time.
_SHARE, _LONG_NS = 10, 10_000_000


class Cursor(ForwardingSpan):
    """The current span while the chain runs; stands for the phase the request is in.

    A phase that begins is a stamp (when, which), and no more: how long it took is worked out at the end of the chain.
    Until then only what must be known in time is made a span: a phase that has a child, failed or answered.

    Args:
        local: the request's state.
        settings: `detail` and `middleware_threshold_us` of it are used.
    """

    def __init__(self, local: LocalTrace, settings: Settings) -> None:
        self._local = local
        self._server = local.root.span
        self._threshold_ns = -1 if settings.detail == "all" else settings.middleware_threshold_us * 1000
        # The stamps: when, and which phase began then; None begins the time between phases.
        self._began: list[int] = []
        self._phases: list[Phase | None] = []
        # The span of the phase the request is in, where it has become one.
        self._span: OpenSpan | None = None
        self.outermost: Layer | None = None
        self._token: Any = None
        self._timings = ""

    def begin(self, phase: Phase | None) -> None:
        """Whatever was before is over; a phase begins, or none."""
        if self._span is not None:
            self._end_span()
        self._began.append(time_ns())
        self._phases.append(phase)

    def enter_outermost(self, layer: Layer) -> None:
        """The chain begins: this is the current span until `leave_outermost`."""
        self.outermost = layer
        self._token = attach(Context({**get_current(), _SPAN_KEY: self}))

    def leave_outermost(self) -> None:
        """The chain is over."""
        self._settle()
        self.outermost = None
        token, self._token = self._token, None
        detach(token)

    def fail(self, error: BaseException) -> None:
        """The phase ends with this error."""
        phase = self._phases[-1]
        if phase is not None:
            if phase.is_before_view:
                self._local.root.note(names.DJANGO_RESPONSE_RAISED_BY, phase.layer.name)
            self._end_span(None if is_answer(error) else error)

    def answer(self) -> None:
        """The phase ends with a response that is not the view's."""
        phase = self._phases[-1]
        if phase is not None:
            if phase.is_before_view:
                self._local.root.note(names.DJANGO_RESPONSE_SHORT_CIRCUITED_BY, phase.layer.name)
            span = self._materialised()
            if span is not None:
                span.note(names.DJANGO_MIDDLEWARE_SHORT_CIRCUITED, value=True)
            self._end_span()
        # Said of the handler below all layers, too: whoever calls the chain again and again passes here.
        if len(self._phases) > _MAX_STAMPS:
            self._settle()

    def _materialised(self) -> OpenSpan | None:
        if self._span is None and self._phases:
            self._span = self._span_of(self._phases[-1], self._began[-1])
        return self._span

    def _span_of(self, phase: Phase | None, began: int) -> OpenSpan | None:
        if phase is None:
            return None
        layer = phase.layer
        attributes = {
            names.DJANGO_MIDDLEWARE_NAME: layer.name,
            names.DJANGO_MIDDLEWARE_PHASE: phase.name,
            **layer.code(phase.name),
        }
        return SCOPE.under(self._server, f"middleware {layer.short_name} {phase.name}", attributes, start_ns=began)

    def _end_span(self, error: BaseException | None = None) -> None:
        """The phase is a span that ends now; what follows is between phases."""
        span = self._materialised()
        self._span = self._phases[-1] = None
        if span is not None:
            span.close(error)

    def _settle(self) -> None:
        """Write down how long the phases took; those that took long become spans."""
        began, phases = self._began, self._phases
        times = list(map(sub, began[1:], began))
        written = self._written(times)
        threshold_ns = self._threshold_ns
        if threshold_ns > 0:
            threshold_ns = max(threshold_ns, min((began[-1] - began[0]) // _SHARE, _LONG_NS))
        if max(compress(times, written.are_phases), default=-1) >= threshold_ns:
            for index, (time, phase) in enumerate(zip(times, phases, strict=False)):
                if phase is not None and time >= threshold_ns:
                    span = self._span_of(phase, began[index])
                    if span is not None:
                        span.span.end(began[index] + time)
                    phases[index] = None
            written = self._written(times)
        self._timings = self._timings or written.text(times)
        del began[:-1], phases[:-1]

    def _written(self, times: list[int]) -> Timings:
        key = tuple(self._phases[: len(times)])
        assert self.outermost is not None
        known = self.outermost.timings
        written = known.get(key)
        if written is None:
            if len(known) > _MAX_SEQUENCES:
                known.clear()
            written = known[key] = Timings(key)
        return written

    def has_begun_after(self, time: int) -> bool:
        """Whether the phase the request is in began after that time."""
        return bool(self._began) and self._began[-1] > time

    def finish(self) -> None:
        """Say on the request what was too short for spans."""
        if self._timings:
            self._local.root.note(names.DJANGO_MIDDLEWARE_TIMINGS, self._timings)

    # The Span interface, for whoever asks for the current span while the chain runs.

    def get_span_context(self) -> SpanContext:
        """Context of the phase (which is a span from now on), or of the request outside any phase."""
        span = self._materialised()
        return self._server.get_span_context() if span is None else span.span.get_span_context()

    def is_recording(self) -> bool:
        """Whether the request's span records."""
        return self._server.is_recording()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def resolve(self) -> Span:
        """The request's span."""
        return self._server

    def end(self, end_time: int | None = None) -> None:
        """Nothing: the request's span is ended by its seam only."""


def enter(layer: Layer, state: LocalTrace | None) -> Cursor | None:
    """The chain calls `layer`: its request phase begins."""
    if state is None:
        return None
    cursor: Cursor = state.cursor or cursor_of(state)
    if cursor.outermost is None:
        cursor.enter_outermost(layer)
    # What `begin` does, without its call: eleven layers are reached and left in each request.
    if cursor._span is not None:
        cursor._end_span()
    cursor._began.append(time_ns())
    cursor._phases.append(layer.request)
    return cursor


def enter_with_hook(layer: Layer, positional: tuple[Any, ...]) -> Cursor | None:
    """As `enter`, in a chain in which the site's request hook is called."""
    local = local_trace.current()
    if local is None:
        return None
    if layer.is_hook_position and positional:
        call_request_hook(positional[0], local)
    return enter(layer, local) if local.is_recording or local.cursor is not None else None


def leave(opened: Cursor, layer: Layer, error: BaseException | None) -> None:
    """`layer` has answered: its phase is over, the response phase of the one outside begins."""
    phases = opened._phases
    if error is not None:
        opened.fail(error)
    elif phases[-1] is layer.request:
        opened.answer()
    outer = layer.outer
    if layer is opened.outermost:
        opened.begin(None)
        opened.leave_outermost()
    elif outer is not None:
        if opened._span is not None:
            opened._end_span()
        opened._began.append(time_ns())
        phases.append(outer.response)


def cursor_of(local: LocalTrace) -> Cursor:
    """The cursor of this request, made at its first layer."""
    cursor: Cursor | None = local.cursor
    if cursor is None:
        cursor = local.cursor = Cursor(local, configuration.settings)
        local.at_end.append(cursor.finish)
    return cursor
