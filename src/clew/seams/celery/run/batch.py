"""celery-batches: one run of many messages.

The run has no message of its own: it begins a trace, is linked to the publish of each message, and waited as long as
the one that waited longest. In the trace of each message `batched/<task>` stands for it, and leads to it. What the run
raises is caught by celery-batches and said to nobody, so we look at the task's `__call__`.
"""

from __future__ import annotations

import sys
from typing import Any

from opentelemetry.trace import Link, SpanKind, Status, StatusCode, format_span_id, format_trace_id

from clew import attributes as names
from clew.engine.redaction.exception_event import error_description, type_name
from clew.seams.celery.message import metrics
from clew.seams.celery.message.attempts import origin_of
from clew.seams.celery.message.attributes import Attributes, destination, run_attributes
from clew.seams.celery.message.headers import received_of
from clew.seams.celery.message.values import mapping_of
from clew.seams.celery.message.waiting import Waited, waits
from clew.spans import scope as spans
from clew.story.task_run import TaskRun

SCOPE = "clew.seams.celery.run"
_MAX_MESSAGES = 1000


def batches() -> Any:
    """The class of such tasks; None where the library is not in use."""
    module = sys.modules.get("celery_batches")
    return getattr(module, "Batches", None)


class Batch:
    """The messages of one run.

    Args:
        task: the task.
        held: what it is given, one object for each message.
    """

    def __init__(self, task: Any, held: list[Any]) -> None:
        from celery.app.task import Context

        self._count = len(held)
        known = [getattr(each, "request_dict", None) for each in held[:_MAX_MESSAGES]]
        self._messages = [Context(headers) for headers in known if type(headers) is dict]
        self._task = task

    def waited(self, attributes: Attributes) -> Waited:
        """How long the one waited that did so longest; notes that, where they came from, and how many they are."""
        attributes[names.MESSAGING_BATCH_MESSAGE_COUNT] = self._count
        found = [waits(message, received_of(message), {}) for message in self._messages]
        longest = max(found, key=lambda each: sum(each.ms.values()), default=Waited(0, 0, 0, 0, {}))
        attributes.update(longest.ms)
        if self._messages:
            attributes.update(destination(mapping_of(self._messages[0].delivery_info)))
        return longest

    def links(self) -> tuple[Link, ...]:
        """Links to the publish of each message."""
        return tuple(link for message in self._messages for link in origin_of(message, {}).links)

    def end_messages(self, run: TaskRun, root: spans.OpenSpan, known: Attributes) -> None:
        """End each message in its own trace, when the run is over."""
        metrics.count_outcome(run.task_name, run.outcome, known, max(self._count - 1, 0))
        pipeline, above = spans.pipeline(), root.span.get_span_context()
        if pipeline is None:
            return
        to_run = Link(above, {names.CLEW_LINK_KIND: "batch_run"})
        for message in self._messages:
            found = self._attributes(message, run)
            found[names.CELERY_BATCH_TRACE_ID] = format_trace_id(above.trace_id)
            found[names.CELERY_BATCH_SPAN_ID] = format_span_id(above.span_id)
            origin, received = origin_of(message, found), received_of(message)
            name, ids = f"batched/{run.task_name}", received[2:4] if received is not None else (0, 0)
            links = (*origin.links, to_run)
            told = spans.start_root(
                *(pipeline, SCOPE, name, SpanKind.CONSUMER, origin.context, found, links, run.started_ns, ids),
                is_own_trace=origin.is_own_trace,
            )
            if told is None:
                continue
            if run.error is not None:
                told.span.set_status(Status(StatusCode.ERROR, error_description(run.error)))
            told.span.end(run.ended_ns)

    def _attributes(self, message: Any, run: TaskRun) -> Attributes:
        found = run_attributes(self._task, message)
        found[names.CELERY_ACTION] = found[names.MESSAGING_OPERATION_NAME] = "batched"
        found[names.CELERY_OUTCOME] = run.outcome
        waits(message, received_of(message), found)
        if names.CELERY_PREFETCH_MS in found:  # it did not wait while the run lasted
            lasted_ms = (run.ended_ns - run.started_ns) / 1e6
            found[names.CELERY_PREFETCH_MS] = round(max(found[names.CELERY_PREFETCH_MS] - lasted_ms, 0), 3)
        if run.error is not None:
            found[names.ERROR_TYPE] = type_name(run.error)
        return found
