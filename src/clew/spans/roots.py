"""The first span of a request, a publish or a run: any sampler decides on it, and it is light where that can be."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Link, NonRecordingSpan, SpanContext, SpanKind, TraceFlags, get_current_span

from clew.engine import forks, isolation
from clew.spans.identity import TraceIdentity
from clew.spans.light_span import LightSpan
from clew.spans.pipeline import Pipeline
from clew.spans.sdk_span import SdkSpan

OpenSpan = LightSpan | SdkSpan
# Of a root: they may be worked out only when it is recorded.
Attributes = dict[str, Any] | Callable[[], dict[str, Any]] | None


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
