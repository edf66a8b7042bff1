"""The only place that opens spans: light ones below a request or task, the SDK's own for these themselves.

A seam has one `Scope`, named after its module, so `otel.scope.name` in any backend is the file the span comes from.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    Span,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    get_current_span,
)
from opentelemetry.trace.propagation import _SPAN_KEY

from clew import attributes as names
from clew.engine import forks, isolation
from clew.engine.redaction.exception_event import CANCELLED, described, error_description, type_name
from clew.spans import local_spans
from clew.spans.current import SUPPRESS, attach, detach, get_current
from clew.spans.folded_run import RunCursor
from clew.spans.identity import StaticAttributes, TraceIdentity
from clew.spans.light_span import LightSpan
from clew.spans.pipeline import Pipeline
from clew.version import VERSION

_pipeline: Pipeline | None = None


def install(pipeline: Pipeline | None) -> None:
    """Open spans into this pipeline from now on; None: open none."""
    global _pipeline
    _pipeline = pipeline


def pipeline() -> Pipeline | None:
    """The pipeline in use."""
    return _pipeline


class SdkSpan:
    """An SDK span with the interface seams use, for samplers that light spans cannot stand under, and for roots."""

    def __init__(self, span: Span) -> None:
        self.span = span
        self.token: Any = None
        self.barren = 0  # as a light span's
        # One locked, cleaned write to the SDK's span at the end instead of one for each attribute.
        self._notes: dict[str, Any] = {}

    is_trivial = False
    elapsed_ns = 1 << 62
    above = None

    def enter(self, context: Context | None = None) -> None:
        """Make it the current span, in `context` or in what is current."""
        self.token = attach(trace.set_span_in_context(self.span, context))

    def restore(self) -> None:
        """Make the span that was current before `enter` current again."""
        token, self.token = self.token, None
        if token is not None:
            detach(token)

    def note(self, key: str, value: Any) -> None:
        """Set an attribute, at the latest when the span ends."""
        self._notes[key] = value

    def share(self, static: StaticAttributes) -> None:
        """Set attributes that other spans have, too."""
        self._notes.update(static.mapping)

    def fail(self, error: BaseException) -> None:
        """Note that the span ends with this error; its event is recorded on the innermost span only."""
        local = local_spans.current()
        if local is not None and local.unexplained:
            local.explain(error)
        if isinstance(error, CANCELLED):
            self.note(names.CLEW_CANCELLED, value=True)
            return
        self.note(names.ERROR_TYPE, type_name(error))
        if local is None or local.error_id != id(error):
            description, event = described(error)
            self.span.add_event("exception", event)
        else:
            description = error_description(error)
        if local is not None:
            local.error_id = id(error)
        self.span.set_status(Status(StatusCode.ERROR, description))

    def close(self, error: BaseException | None = None) -> None:
        """End the span, and with it its time as the current one."""
        self.restore()
        try:
            if error is not None and self.span.is_recording():
                self.fail(error)
            if self._notes:
                self.span.set_attributes(self._notes)
                self._notes = {}
            self.span.end()
        except Exception as ours:  # noqa: BLE001 - a span processor's error must not reach the application
            isolation.report(ours, "end of a span")

    def discard(self) -> None:
        """End it; the SDK's spans cannot be taken back."""
        self.close()

    def rename(self, name: str) -> None:
        """Give it another name."""
        self.span.update_name(name)


OpenSpan = LightSpan | SdkSpan
# Of a root: they may be worked out only when it is recorded.
Attributes = dict[str, Any] | Callable[[], dict[str, Any]] | None


class Scope:
    """What a seam opens its spans with.

    Args:
        name: the seam's module (`clew.seams.django.template`).
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.instrumentation_scope = InstrumentationScope(name, VERSION)

    def open(
        self,
        name: str,
        attributes: dict[str, Any] | None = None,
        kind: SpanKind = SpanKind.INTERNAL,
        static: StaticAttributes | None = None,
    ) -> OpenSpan | None:
        """Open a detail span below the current one and make it current.

        Args:
            name: `{what} {which}`.
            attributes: owned by the span from now on.
            kind: INTERNAL unless it is a call to another process.
            static: further attributes, shared with other spans.

        Returns:
            The span, to be closed by the caller in a `finally`; None where nothing is recorded (no recording span is
            current, instrumentation is suppressed, the limit of the trace is reached).
        """
        context = get_current()
        parent: Any = context.get(_SPAN_KEY)
        if type(parent) is RunCursor:
            parent = parent.resolve()
        elif type(parent) is not LightSpan:
            parent = get_current_span(context)
        if _pipeline is None or context.get(SUPPRESS):
            return None
        if not parent.is_recording():
            parent = outlived(parent)
            if parent is None:
                return None
        span = self.under(parent, name, attributes, kind, context, static=static)
        if span is not None:
            span.enter(context)
        return span

    def under(
        self,
        parent: Span,
        name: str,
        attributes: dict[str, Any] | None,
        kind: SpanKind = SpanKind.INTERNAL,
        context: Context | None = None,
        start_ns: int | None = None,
        static: StaticAttributes | None = None,
        *,
        is_silent: bool = False,
    ) -> OpenSpan | None:
        """Start a detail span below `parent` (at `start_ns`, if it began before), without making it current.

        `is_silent`: no processor is told; the caller does, if it comes to be one.
        """
        pipeline = _pipeline
        local = local_spans.current()
        if pipeline is None:
            return None
        if local is not None:
            if local.spans_left <= 0:
                local.dropped += 1
                return None
            local.spans_left -= 1
        if type(parent) is RunCursor:
            parent = parent.resolve()
        if not pipeline.allows_light_spans:
            held = attributes if static is None else {**static.mapping, **(attributes or {})}
            return self._sdk_span(pipeline, parent, name, held, kind, start_ns)
        scope = self.instrumentation_scope
        if type(parent) is LightSpan:
            parent.children += 1
            span = LightSpan(
                pipeline, scope, name, parent.trace, parent, None, None, attributes, kind, static, start_ns
            )
        else:
            above = parent.get_span_context()
            if not above.trace_flags & 1:
                return None
            trace_of = TraceIdentity.of(above)
            span = LightSpan(pipeline, scope, name, trace_of, None, above, None, attributes, kind, static, start_ns)
        pipeline.notice()
        if pipeline.starters and not is_silent:
            pipeline.start(span, context)
            span.children, span.is_touched = 0, False
        return span

    def _sdk_span(
        self,
        pipeline: Pipeline,
        parent: Span,
        name: str,
        attributes: dict[str, Any] | None,
        kind: SpanKind,
        start_ns: int | None,
    ) -> SdkSpan | None:
        context = trace.set_span_in_context(parent)
        try:
            tracer = pipeline.tracer(self.name)
            return SdkSpan(tracer.start_span(name, context, kind, attributes, start_time=start_ns))
        except Exception as error:  # noqa: BLE001 - someone else's processor or sampler
            isolation.report(error, "start of a span")
            return None


def parent_in(context: Context) -> Any:
    """The span that what begins in this context goes below; None where nothing is recorded."""
    parent: Any = get_current_span(context)
    return parent if parent.is_recording() else outlived(parent)


def outlived(parent: Any) -> Any:
    """The span that goes on standing for `parent`, which does not record; None: it never did.

    Work that outlives its request (a thread with a copied context, a task of asyncio) is below the span it was begun
    in, or, where that one was not worth being sent, below the request's.
    """
    if type(parent) is NonRecordingSpan:
        return None
    if isinstance(parent, ReadableSpan) or (type(parent) is LightSpan and parent.span_id):
        return parent
    root = getattr(local_spans.current(), "root", None)
    above = None if root is None else root.span
    return above if isinstance(above, (ReadableSpan, LightSpan)) else None


def start_root(
    pipeline: Pipeline,
    scope: str,
    name: str,
    kind: SpanKind,
    context: Context | None,
    attributes: Attributes = None,
    links: Sequence[Link] = (),
    start_ns: int | None = None,
    ids: tuple[int, int] = (0, 0),
    *,
    is_own_trace: bool = False,
) -> OpenSpan | None:
    """Start the span of a request, a publish or a run, below whatever `context` holds. Any sampler decides on it.

    Began before, it starts at `start_ns`. `ids` are those of its trace, if it is the first of one, and its own, where
    they are known beforehand (0: new ones); the SDK's own spans cannot be given any. With `is_own_trace` it is decided
    on as if it were below that, and is the first of a trace; the SDK's own cannot be.

    Returns:
        The span, not yet current (unsampled: one that does not record); None when a processor or sampler of someone
        else's raised.
    """
    forks.notice()
    try:
        if pipeline.allows_light_roots:
            return _light_root(
                pipeline, scope, name, kind, context, attributes, links, start_ns, ids, is_own_trace=is_own_trace
            )
        held = attributes() if callable(attributes) else attributes
        return SdkSpan(pipeline.tracer(scope).start_span(name, context, kind, held, links, start_ns))
    except Exception as error:  # noqa: BLE001 - someone else's processor or sampler
        isolation.report(error, "start of a span")
        return None


def _light_root(
    pipeline: Pipeline,
    scope: str,
    name: str,
    kind: SpanKind,
    context: Context | None,
    attributes: Attributes,
    links: Sequence[Link],
    start_ns: int | None,
    ids: tuple[int, int],
    *,
    is_own_trace: bool,
) -> OpenSpan:
    """As the SDK's `Tracer.start_span`: the same sampler, ids, flags and trace state."""
    above: SpanContext | None = get_current_span(context).get_span_context()
    assert above is not None
    if above.is_valid:
        trace_id, flags = above.trace_id, above.trace_flags & ~TraceFlags.SAMPLED
    else:
        trace_id, flags = ids[0] or pipeline.new_trace_id(), pipeline.new_trace_flags
        above = None
    own_trace_id = (ids[0] or pipeline.new_trace_id()) if is_own_trace else trace_id
    span_id = ids[1] or pipeline.new_span_id()
    if above is not None and pipeline.keeps(above):
        own = SpanContext(own_trace_id, span_id, False, above.trace_flags, above.trace_state)
        held = attributes() if callable(attributes) else dict(attributes or {})
    else:
        if callable(attributes) and not pipeline.samples_by_ids:
            attributes = attributes()
        asked = None if callable(attributes) else attributes
        decided = pipeline.provider.sampler.should_sample(context, trace_id, name, kind, asked, links)
        if decided.decision.is_sampled():
            flags |= TraceFlags.SAMPLED
        own = SpanContext(own_trace_id, span_id, False, TraceFlags(flags), decided.trace_state)
        if not decided.decision.is_recording():
            return SdkSpan(NonRecordingSpan(own))
        held = attributes() if callable(attributes) else dict(decided.attributes or {})
    trace_of, parent = TraceIdentity.of(own), None if is_own_trace else above
    span = LightSpan(pipeline, pipeline.scope(scope), name, trace_of, None, parent, own, held, kind, start_ns=start_ns)
    for link in links:
        span.add_link(link.context, link.attributes)
    pipeline.notice()
    if pipeline.starters:
        pipeline.start(span, context)
    return span


def is_suppressed() -> bool:
    """Whether instrumentation is suppressed here (the exporter's own work)."""
    return bool(get_current().get(SUPPRESS))
