"""The only place that opens spans: light ones below a request or task, the SDK's own for these themselves.

A seam has one `Scope`, named after its module, so `otel.scope.name` in any backend is the file the span comes from.
"""

from __future__ import annotations

from typing import Any

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import NonRecordingSpan, Span, SpanKind, get_current_span
from opentelemetry.trace.propagation import _SPAN_KEY

from clew.engine import isolation
from clew.spans import local_spans
from clew.spans.current import SUPPRESS, get_current
from clew.spans.folded_run import RunCursor
from clew.spans.identity import StaticAttributes, TraceIdentity
from clew.spans.light_span import LightSpan
from clew.spans.pipeline import Pipeline
from clew.spans.roots import Attributes, OpenSpan, start_root
from clew.spans.sdk_span import SdkSpan
from clew.version import VERSION

_pipeline: Pipeline | None = None


def install(pipeline: Pipeline | None) -> None:
    """Open spans into this pipeline from now on; None: open none."""
    global _pipeline
    _pipeline = pipeline


def pipeline() -> Pipeline | None:
    """The pipeline in use."""
    return _pipeline


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


def is_suppressed() -> bool:
    """Whether instrumentation is suppressed here (the exporter's own work)."""
    return bool(get_current().get(SUPPRESS))


__all__ = [
    "Attributes",
    "OpenSpan",
    "Scope",
    "SdkSpan",
    "install",
    "is_suppressed",
    "outlived",
    "parent_in",
    "pipeline",
    "start_root",
]
