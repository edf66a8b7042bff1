"""Adds to spans of other instrumentations what they cannot know.

Calls to other services (requests, httpx, Redis, Kafka, gRPC: whatever makes CLIENT and PRODUCER spans) are told the
application's line, the phase it is in, the receiver and the task; the root says how many there were.
contrib's Celery spans, for a provider that takes contrib's own instrumentation, get what the conventions ask for
(`messaging.*`) and a link to the publish span: clew's seams put these on their spans themselves. We stand in
`on_start`, where a span may be changed, and in `_on_ending`, which every processor gets before any `on_end`.
"""

from __future__ import annotations

import sys
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind, get_current_span

from clew import attributes as names
from clew.engine import isolation
from clew.source.call_site import call_site
from clew.source.phase import phase_of
from clew.story import cache_operation, local_trace, own_database
from clew.story.external_calls import calls_of
from clew.story.query import running
from clew.story.receiving import note_receiver

_CALLS = (SpanKind.CLIENT, SpanKind.PRODUCER)
_SYSTEMS = ("rpc.system.name", "rpc.system", names.DB_SYSTEM_NAME, "db.system", names.MESSAGING_SYSTEM)
CONTRIB_CELERY = "opentelemetry.instrumentation.celery"


class AnnotateProcessor(SpanProcessor):
    """Annotates contrib's `apply_async/...` and `run/...` spans. Never raises; does nothing on unsampled spans."""

    is_silent_on_light_spans = True

    def __init__(self) -> None:
        self.is_on = True

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Annotate a span that starts."""
        scope = span.instrumentation_scope
        if not self.is_on or scope is None or scope.name.startswith("clew."):
            return
        try:
            if scope.name == CONTRIB_CELERY:
                self._annotate(span, parent_context)
            elif span.kind in _CALLS:
                _annotate_call(span, parent_context)
        except Exception as error:  # noqa: BLE001 - ours must not reach the application
            isolation.report(error, "processors.annotate")

    def _annotate(self, span: Span, parent_context: Context | None) -> None:
        operation, _, task = span.name.partition("/")
        if span.kind is SpanKind.CONSUMER:
            span.set_attributes(_operation(operation, "process", task))
            publish = get_current_span(parent_context).get_span_context()
            linked = {link.context.span_id for link in span.links}
            if publish.is_valid and publish.is_remote and publish.span_id not in linked:
                span.add_link(publish, {names.CLEW_LINK_KIND: "publish"})
        elif span.kind is SpanKind.PRODUCER:
            span.set_attributes(_operation(operation, "send", task))

    def _on_ending(self, span: Any) -> None:
        """Count a call."""
        if not self.is_on or span.kind not in _CALLS or span.context is None:
            return
        try:
            local = local_trace.current() or local_trace.of_current_span()
            if local is not None:
                took_ns = (span.end_time or 0) - (span.start_time or 0)
                system = None if own_database.is_of_any(span) else _system(span)
                calls_of(local).end(span.context.span_id, system, took_ns, span.attributes or {})
        except Exception as error:  # noqa: BLE001 - ours must not reach the application
            isolation.report(error, "processors.annotate")

    def shutdown(self) -> None:
        """Nothing to do: it keeps no spans."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing to do: it keeps no spans."""
        return True


def _annotate_call(span: Span, parent_context: Context | None) -> None:
    above: Any = get_current_span(parent_context)
    query, operation = running.query, cache_operation.running.operation
    if not above.get_span_context().is_valid or getattr(above, "kind", None) in _CALLS:
        return  # it begins a trace, or is how another one is made
    if (query is not None and not query.is_over) or (operation is not None and not operation.is_over):
        return  # `processors.detect` tells it more
    frame, local = sys._getframe(1), local_trace.current() or local_trace.of_current_span()
    site = call_site(frame)
    found: dict[str, Any] = {} if site is None else site.attributes()
    if where := phase_of(frame):
        found[names.CLEW_PHASE] = where
    note_receiver(found)
    if local is not None:
        calls_of(local).begin(span, site, frame)
        known = {**(getattr(local.root.span, "attributes", None) or {}), **local.where}
        found |= {name: known[name] for name in (names.CELERY_TASK_NAME, names.HTTP_ROUTE) if name in known}
    held = span.attributes or {}
    span.set_attributes({name: value for name, value in found.items() if name not in held})


def _system(span: ReadableSpan) -> str:
    held = span.attributes or {}
    for name in _SYSTEMS:
        if name in held:
            return str(held[name])
    if any(name.startswith(("http.", "url.")) for name in held):
        return "http"
    scope = span.instrumentation_scope
    return scope.name.rpartition(".")[2] if scope is not None else "other"


def _operation(name: str, kind: str, task: str) -> dict[str, str]:
    return {
        names.MESSAGING_OPERATION_NAME: name,
        names.MESSAGING_OPERATION_TYPE: kind,
        names.CELERY_TASK_NAME: task,
    }
