"""Where a request is in its middleware chain: one object, current for the whole chain, that becomes spans on demand.

Attaching a context for each of twenty phases would cost more than they take. The cursor is attached once; who asks it
for its span context (a child, an outgoing header) turns the phase into a span, who sets an attribute on it reaches the
request's span, as under contrib.
"""

from __future__ import annotations

from time import time_ns
from types import FunctionType
from typing import Any

from opentelemetry.context import attach, detach
from opentelemetry.trace import Span, SpanContext, set_span_in_context

from clew import attributes as names
from clew.core import code_location, configuration
from clew.core.local_trace import LocalTrace
from clew.core.spans import OpenSpan, Scope
from clew.settings import Settings

SCOPE_NAME = "clew.seams.django.middleware"
SCOPE = Scope(SCOPE_NAME)
_MAX_TIMINGS = 200
PHASES = ("request", "view", "template_response", "exception", "response")


class Layer:
    """One middleware of a chain (or, without a name, the handler below them all).

    Args:
        name: its dotted name.
        target: the middleware, or its hook.
    """

    __slots__ = ("_code", "is_hook_position", "labels", "name", "outer", "short_name", "target")

    def __init__(self, name: str, target: Any = None) -> None:
        self.name = name
        self.short_name = name.rpartition(".")[2]
        self.labels = {phase: f", {self.short_name} {phase} " for phase in PHASES}
        self.target = target
        self._code: dict[str, dict[str, Any]] = {}
        self.outer: Layer | None = None
        self.is_hook_position = False

    def code(self, phase: str) -> dict[str, Any]:
        """`code.*` of what runs in that phase, looked up when it first is a span."""
        found = self._code.get(phase)
        if found is None:
            found = self._code[phase] = self._located(phase)
        return found

    def _located(self, phase: str) -> dict[str, Any]:
        if isinstance(self.target, FunctionType) or hasattr(self.target, "__func__"):
            return code_location.code_attributes(self.target)
        kind = type(self.target)
        # MiddlewareMixin's __call__ is Django's; what the middleware says itself is in its hooks.
        for name in (f"process_{phase}", "__call__", "process_request", "process_response", "process_view"):
            method = getattr(kind, name, None)
            if method is not None and getattr(method, "__module__", "") != "django.utils.deprecation":
                return {**code_location.code_attributes(method), names.CODE_FUNCTION_NAME: f"{self.name}.{name}"}
        return code_location.code_attributes(kind)


class Cursor(Span):
    """The current span while the chain runs; stands for the phase the request is in.

    Args:
        local: the request's state.
        settings: `detail` and `middleware_threshold_us` of it are used.
    """

    def __init__(self, local: LocalTrace, settings: Settings) -> None:
        self._local = local
        self._server = local.root.span
        self._threshold_ns = -1 if settings.detail == "all" else settings.middleware_threshold_us * 1000
        self._layer: Layer | None = None
        self._phase = ""
        self._began = 0
        self._span: OpenSpan | None = None
        self._reached: Layer | None = None
        self._outermost: Layer | None = None
        self._token: Any = None
        self._timings: list[tuple[Any, str, int]] = []

    def enter(self, layer: Layer) -> None:
        """The chain calls `layer`: the phase before is over, its request phase begins."""
        now = time_ns()
        if self._layer is not None:
            self.end_phase(now)
        self._reached = layer
        if self._outermost is None:
            self._outermost = layer
            self._token = attach(set_span_in_context(self))
        if layer.name:
            self._layer, self._phase, self._began = layer, "request", now

    def fail(self, error: BaseException) -> None:
        """The phase ends with this error."""
        if self._layer is not None:
            self.end_phase(time_ns(), error)

    def leave(self, layer: Layer) -> None:
        """`layer` has answered: its phase is over, the response phase of the one outside begins."""
        now = time_ns()
        if self._layer is not None:
            self.end_phase(now, is_short_circuit=self._reached is layer)
        if layer is self._outermost:
            self._outermost = None
            token, self._token = self._token, None
            detach(token)
        elif layer.outer is not None:
            self._layer, self._phase, self._began = layer.outer, "response", now

    def begin(self, layer: Layer, phase: str) -> None:
        """A hook of a middleware begins."""
        self._layer, self._phase, self._began = layer, phase, time_ns()

    def end_phase(self, now: int, error: BaseException | None = None, is_short_circuit: bool = False) -> None:
        """The phase is over: an entry of the timings, or a span if it was worth one."""
        layer, elapsed = self._layer, now - self._began
        if self._span is None and elapsed < self._threshold_ns and error is None and not is_short_circuit:
            if len(self._timings) < _MAX_TIMINGS:
                self._timings.append((layer, self._phase, elapsed))
            self._layer = None
        elif layer is not None:
            self._end_as_span(layer, error, is_short_circuit)

    def _end_as_span(self, layer: Layer, error: BaseException | None, is_short_circuit: bool) -> None:
        if is_short_circuit:
            self._answered(layer)
        elif error is not None and self._phase in ("request", "view"):
            self._local.root.note(names.DJANGO_RESPONSE_RAISED_BY, layer.name)
        span = self._materialised()
        self._span = self._layer = None
        if span is not None:
            if is_short_circuit:
                span.note(names.DJANGO_MIDDLEWARE_SHORT_CIRCUITED, True)
            span.close(error)

    def _answered(self, layer: Layer) -> None:
        if self._phase in ("request", "view"):
            self._local.root.note(names.DJANGO_RESPONSE_SHORT_CIRCUITED_BY, layer.name)

    def _materialised(self) -> OpenSpan | None:
        if self._span is None and self._layer is not None:
            layer = self._layer
            attributes = {
                names.DJANGO_MIDDLEWARE_NAME: layer.name,
                names.DJANGO_MIDDLEWARE_PHASE: self._phase,
                **layer.code(self._phase),
            }
            self._span = SCOPE.under(
                self._server,
                f"middleware {layer.short_name} {self._phase}",
                attributes,
                start_ns=self._began,
            )
        return self._span

    def finish(self) -> None:
        """Say on the request what was too short for spans."""
        if self._timings:
            text = "".join([f"{layer.labels[phase]}{ns // 1000}us" for layer, phase, ns in self._timings])[2:]
            self._local.root.note(names.DJANGO_MIDDLEWARE_TIMINGS, text)

    # The Span interface, for whoever asks for the current span while the chain runs.

    def get_span_context(self) -> SpanContext:
        """Context of the phase (which is a span from now on), or of the request outside any phase."""
        if self._layer is not None:
            span = self._materialised()
            if span is not None:
                return span.span.get_span_context()
        return self._server.get_span_context()

    def is_recording(self) -> bool:
        """Whether the request's span records."""
        return self._server.is_recording()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)

    def set_attribute(self, key: str, value: Any) -> None:
        """Set on the request's span."""
        self._server.set_attribute(key, value)

    def set_attributes(self, attributes: Any) -> None:
        """Set on the request's span."""
        self._server.set_attributes(attributes)

    def add_event(self, name: str, attributes: Any = None, timestamp: int | None = None) -> None:
        """Add to the request's span."""
        self._server.add_event(name, attributes, timestamp)

    def add_link(self, context: SpanContext, attributes: Any = None) -> None:
        """Add to the request's span."""
        self._server.add_link(context, attributes)

    def update_name(self, name: str) -> None:
        """Rename the request's span."""
        self._server.update_name(name)

    def set_status(self, status: Any, description: str | None = None) -> None:
        """Set on the request's span."""
        self._server.set_status(status, description)

    def record_exception(
        self,
        exception: BaseException,
        attributes: Any = None,
        timestamp: int | None = None,
        escaped: bool = False,
    ) -> None:
        """Record on the request's span."""
        self._server.record_exception(exception, attributes, timestamp, escaped)

    def end(self, end_time: int | None = None) -> None:
        """Nothing: the request's span is ended by its seam only."""


def cursor_of(local: LocalTrace) -> Cursor:
    """The cursor of this request, made at its first layer."""
    cursor: Cursor | None = local.cursor
    if cursor is None:
        cursor = local.cursor = Cursor(local, configuration.settings)
        local.at_end.append(cursor.finish)
    return cursor
