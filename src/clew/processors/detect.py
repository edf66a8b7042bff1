"""Feeds detectors from spans that are not clew's: drivers' queries, calls to other services, roots of other frameworks.

A driver instrumentation's span stands for the query that this thread is in the middle of: it is told what only Django
knows (alias, line, phase, findings), and the database seam makes none of its own. The root of a script or another
framework becomes a local root, with its summaries and findings.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Event, ReadableSpan, Span, SpanProcessor
from opentelemetry.trace import SpanKind, get_current_span

from clew import attributes as names
from clew import span_names
from clew.engine import configuration, isolation
from clew.source.call_site import call_site
from clew.source.phase import phase_of
from clew.spans import folding
from clew.spans.light_span import LightSpan
from clew.spans.scope import SdkSpan
from clew.story import cache_operation, findings, local_trace
from clew.story.cache_operation import CacheOperation
from clew.story.detector import watchers
from clew.story.query import Query, running
from clew.story.receiving import note_receiver

_DRIVERS = "opentelemetry.instrumentation."
_REDIS = f"{_DRIVERS}redis"
_PUBLISH = "clew.seams.celery.publish"


class DetectProcessor(SpanProcessor):
    """Annotates drivers' spans and adopts foreign roots. Never raises; does nothing on unsampled spans."""

    is_silent_on_light_spans = True

    def __init__(self) -> None:
        self.is_on = True

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Annotate another instrumentation's span, and let detectors know of the call."""
        if self.is_on:
            _isolated(_started, span, parent_context)

    def on_end(self, span: ReadableSpan) -> None:
        """Let detectors know that the call is over."""
        if self.is_on and not _is_clews(span):
            _isolated(_ended, span)
            if span.kind is SpanKind.CLIENT:
                _isolated(_client_call, span)

    def _on_ending(self, span: Any) -> None:
        if self.is_on and local_trace._by_trace and type(span) is not LightSpan:
            _isolated(_root_ends, span)

    def shutdown(self) -> None:
        """Nothing to do: it keeps no spans."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing to do: it keeps no spans."""
        return True


def _is_clews(span: ReadableSpan) -> bool:
    scope = span.instrumentation_scope
    return scope is not None and scope.name.startswith("clew.seams.")


def _isolated(call: Callable[..., None], *args: Any) -> None:
    try:
        call(*args)
    except Exception as error:  # noqa: BLE001 - ours must not reach the application
        isolation.report(error, __name__)


def _started(span: Span, parent_context: Context | None) -> None:
    query = running.query
    if query is not None and not query.is_over and span.kind is SpanKind.CLIENT and _is_drivers(span):
        _take_over(span, query)
        return
    operation = cache_operation.running.operation
    if operation is not None and not operation.is_over and operation.is_remote and span.kind is SpanKind.CLIENT:
        _annotate(span, operation)
        return
    if span.kind is SpanKind.CLIENT and not span_names.State.are_full:
        _name_command(span, parent_context)
    above = span.parent
    if (above is None or above.is_remote) and local_trace.current() is None:
        local_trace.adopt(local_trace.LocalTrace(SdkSpan(span), configuration.settings.max_spans_per_trace))


def _name_command(span: Span, parent_context: Context | None) -> None:
    """A command of kombu's below a publish, `LPUSH` or `LLEN LLEN LLEN LLEN`, is named with the publish's queue."""
    above: Any = get_current_span(parent_context)
    scope, own = getattr(above, "instrumentation_scope", None), span.instrumentation_scope
    if scope is not None and scope.name == _PUBLISH and own is not None and own.name == _REDIS:
        queue = above.attributes.get(names.MESSAGING_DESTINATION_NAME, "")
        span.update_name(span_names.of_command(span.name, queue))


def _is_drivers(span: Span) -> bool:
    scope = span.instrumentation_scope
    attributes = span.attributes or {}
    return (
        (scope is not None and scope.name.startswith(_DRIVERS))
        or "db.system" in attributes
        or (names.DB_SYSTEM_NAME in attributes)
    )


def _take_over(span: Span, query: Query) -> None:
    query.taken_by = query.span = span
    found: dict[str, Any] = {names.DJANGO_DB_ALIAS: query.alias, names.DB_QUERY_SUMMARY: query.statement.summary}
    query.site = query.site or call_site(query.frame)
    if query.site is not None:
        found.update(query.site.attributes())
    if where := phase_of(query.frame):
        found[names.CLEW_DB_PHASE] = where
    note_receiver(found)
    span.set_attributes({key: value for key, value in found.items() if value})
    if not span_names.State.are_full:
        span.update_name(query.statement.span_name)
    for finding in query.findings:
        findings.attach(span, finding)


def _annotate(span: Span, operation: CacheOperation) -> None:
    """Of a cache's own driver; whether it was a hit is not known yet, and stands on the root."""
    operation.taken_by = span if operation.opened is None else None
    found: dict[str, Any] = {
        names.DJANGO_CACHE_ALIAS: operation.alias,
        names.DJANGO_CACHE_OPERATION: operation.name,
        names.DJANGO_CACHE_KEY: operation.template,
        **(operation.site.attributes() if operation.site is not None else {}),
    }
    span.set_attributes({key: value for key, value in found.items() if value})


def _client_call(span: ReadableSpan) -> None:
    query = running.query
    if query is None or query.is_over:
        for on_client_call in watchers.on_client_call:
            on_client_call(span)


def _ended(span: ReadableSpan) -> None:
    """What waits in it to be folded ends with it; what has a finding that may still grow, with the request or task."""
    local = local_trace.current() or local_trace.of_current_span()
    if local is not None and local.foreign and span.context is not None:
        for waiting in folding.end_foreign(local, span.context.span_id):
            local.at_end.append(waiting.finish_folded)


class _Ending:
    """A root that is ending: closed to its public setters by now (opentelemetry-python #5614)."""

    def __init__(self, span: Span) -> None:
        self._span = span

    def is_recording(self) -> bool:
        return True

    def add_event(self, name: str, attributes: Any, timestamp: int) -> None:
        events: Any = self._span._events
        events.append(Event(name, attributes, timestamp))


def _root_ends(span: Span) -> None:
    context = span.get_span_context()
    local = local_trace.disown(context.trace_id, context.span_id) if context is not None else None
    if local is None:
        return
    root: Any = local.root
    root.span = _Ending(span)
    local.finish()
    attributes: Any = span._attributes
    held = getattr(attributes, "_dict", attributes)  # frozen, so its container is changed, as processors/redact.py does
    for key, value in root._notes.items():
        held[key] = value
