"""Adds to contrib's Celery spans what the conventions ask for (`messaging.*`) and a link to the publish span.

For a provider that takes contrib's own instrumentation: clew's seams put these on their spans themselves. We stand in
`on_start`, the only moment at which a span may still be changed by a processor.
"""

from __future__ import annotations

from opentelemetry.context import Context
from opentelemetry.sdk.trace import Span, SpanProcessor
from opentelemetry.trace import SpanKind, get_current_span

from clew import attributes as names
from clew.engine import isolation

CONTRIB_CELERY = "opentelemetry.instrumentation.celery"


class AnnotateProcessor(SpanProcessor):
    """Annotates contrib's `apply_async/...` and `run/...` spans. Never raises; does nothing on unsampled spans."""

    is_silent_on_light_spans = True

    def __init__(self) -> None:
        self.is_on = True

    def on_start(self, span: Span, parent_context: Context | None = None) -> None:
        """Annotate a span that starts."""
        scope = span.instrumentation_scope
        if not self.is_on or scope is None or scope.name != CONTRIB_CELERY:
            return
        try:
            self._annotate(span, parent_context)
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

    def on_end(self, span: object) -> None:
        """Nothing: an ended span belongs to the exporter."""

    def shutdown(self) -> None:
        """Nothing is held."""

    def force_flush(self, timeout_millis: int = 30000) -> bool:
        """Nothing is held."""
        return True


def _operation(name: str, kind: str, task: str) -> dict[str, str]:
    return {
        names.MESSAGING_OPERATION_NAME: name,
        names.MESSAGING_OPERATION_TYPE: kind,
        names.CELERY_TASK_NAME: task,
    }
