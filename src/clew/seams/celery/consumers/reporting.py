"""Telling of a queue nobody reads: at once, at the end of the request, or after it in a span of its own."""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import NonRecordingSpan, Span, SpanContext

from clew import attributes as names
from clew.seams.celery.consumers.known import Known
from clew.source.call_site import CallSite
from clew.spans import scope as spans
from clew.spans.light_span import LightSpan
from clew.story.detector import watchers
from clew.story.local_trace import LocalTrace
from clew.story.unread_queue import UnreadQueue

SCOPE = spans.Scope("clew.seams.celery.consumers")


class Sent:
    """A task that was sent to a queue.

    Args:
        queue, task_name: which.
        site: the application's line.
        local: the request or task that sent it, if there is one.
    """

    __slots__ = ("local", "queue", "site", "task_name")

    def __init__(self, queue: str, task_name: str, site: CallSite | None, local: LocalTrace | None) -> None:
        self.queue, self.task_name, self.site, self.local = queue, task_name, site, local

    def report(self, local: LocalTrace, known: Known, span: Any = None) -> None:
        """Let the detectors know that nobody reads the queue."""
        queue = UnreadQueue(local, self.queue, self.task_name, span, self.site, known.messages, known.does_exist)
        queue.read_seconds_ago, queue.strangers = known.read_seconds_ago, known.strangers
        for on_queue in watchers.on_queue:
            on_queue(queue)

    def report_alone(self, root: spans.OpenSpan, known: Known) -> None:
        """Let them know outside of a request or task, where the publish span is the root."""
        local = LocalTrace(root, 0)
        local.where = {names.CELERY_TASK_NAME: self.task_name}
        self.report(local, known, root.span)
        local.finish_findings()


class OpenPublish(spans.SdkSpan):
    """A publish span of the SDK's, still open, that somebody else ends."""

    def note(self, key: str, value: Any) -> None:
        """Set an attribute at once."""
        self.span.set_attribute(key, value)


def root_of(span: Span) -> spans.OpenSpan:
    """A publish span as the root it is."""
    return span if type(span) is LightSpan else OpenPublish(span)


class Waiting:
    """A publish whose queue is being asked about.

    The answer comes in the watcher's thread, the end of the request in its own. Each leaves a step; who comes second
    tells. That needs no lock, which a fork could leave locked.

    Args:
        sent: what was sent.
        publish: context of the publish span.
    """

    def __init__(self, sent: Sent, publish: SpanContext) -> None:
        self._sent, self._publish = sent, publish
        self._known: Known | None = None
        self._steps: list[str] = [] if sent.local is not None else ["ended"]

    def answered(self, known: Known) -> None:
        """Take the broker's answer; after the request or task has ended it is reported at once."""
        self._known = known
        self._steps.append("answered")
        if self._steps[0] == "ended" and known.is_read is False:
            self._report_late(known)

    def ended(self) -> None:
        """Before the request or task ends, report an answer that came in time."""
        self._steps.append("ended")
        known, local = self._known, self._sent.local
        if self._steps[0] == "answered" and known is not None and local is not None and known.is_read is False:
            self._sent.report(local, known)
        self._sent.local = None  # what is asked once more may be answered a second later

    def _report_late(self, known: Known) -> None:
        publish = NonRecordingSpan(self._publish)
        attributes: dict[str, Any] = {names.MESSAGING_DESTINATION_NAME: self._sent.queue}
        if known.is_certain:
            attributes[names.CELERY_HAS_CONSUMERS] = False
        span = SCOPE.under(publish, f"queue {self._sent.queue}", attributes) if self._publish.is_valid else None
        root = span or spans.SdkSpan(publish)
        try:
            self._sent.report_alone(root, known)
        finally:
            root.close()
