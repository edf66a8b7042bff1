"""The CONSUMER span `run/<task>`, from `task_prerun` to `task_postrun`.

We stand at the two signals because they also work in a worker whose tasks' tracers were built before us (set-up in
`worker_process_init`), and because Celery sends the second one in a `finally`: it sees every end, the exception that is
on its way included (SystemExit, a propagated eager error). Its parent is the publish span, and it is linked to it; with
`task_parent="link"` it starts a trace of its own. Baggage comes along either way.
"""

from __future__ import annotations

import sys
from contextvars import Token
from time import perf_counter
from typing import Any

from opentelemetry import propagate
from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    SpanKind,
    Status,
    StatusCode,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)

from clew import attributes as names
from clew.core import configuration, isolation, local_trace, spans
from clew.core.exception_event import error_description, exception_attributes, message_of, type_name
from clew.core.local_trace import LocalTrace
from clew.core.seam import Seam, SpanDoc
from clew.core.transactions import PUBLISHED_HEADER, TASK_END
from clew.seams.celery import contrib
from clew.seams.celery.messaging import run_attributes
from clew.seams.celery.receivers import Receivers

SCOPE = __name__
_LINK = {names.CLEW_LINK_KIND: "publish"}
_MAX_RUNNING = 10_000
_running: dict[int, RunningTask] = {}


class _RequestGetter(Getter[Any]):
    """Reads a header from a task's request: protocol 2 makes headers its attributes, protocol 1 keeps them apart."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        value = vars(carrier).get(key)
        if value is None:
            value = (carrier.headers or {}).get(key)
        if value is None:
            return None
        return [str(each) for each in value] if isinstance(value, (list, tuple)) else [str(value)]

    def keys(self, carrier: Any) -> list[str]:
        return [*vars(carrier), *(carrier.headers or {})]


_getter = _RequestGetter()


class RunningTask:
    """One run: its span, and what has to be put back when it is over.

    Args:
        request: Celery's request of the run.
        root: the span, current.
        max_spans: clew's spans below it.
    """

    __slots__ = ("_handled", "_local", "_request", "_root", "_started", "_token")

    def __init__(self, request: Any, root: spans.OpenSpan, max_spans: int) -> None:
        self._request = request
        self._root = root
        self._local = LocalTrace(root, max_spans)
        self._local.where = {names.CELERY_TASK_NAME: request.task or ""}
        self._token: Token[LocalTrace | None] = local_trace.enter(self._local)
        # An eager run inside an `except`: that exception is on its way, but not from the task.
        self._handled = sys.exc_info()[1]
        self._started = perf_counter()

    def note_published_in(self, aliases: str) -> None:
        """Its message was sent before the transaction that may have written what it is about was committed."""
        self._local.notes[PUBLISHED_HEADER] = aliases
        self._root.note(names.CELERY_PUBLISHED_IN_TRANSACTION, aliases)

    def end(self, task: Any, state: str | None, retval: Any) -> None:
        """The run is over: say how, end the span, put back what was current before."""
        elapsed = perf_counter() - self._started
        error = self._error(state, retval)
        try:
            self._local.notes[TASK_END] = (_outcome(task, error), error)
            if self._root.span.is_recording():
                _describe(self._root, task, state, error)
            self._local.finish()
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, SCOPE)
        finally:
            self._local.notes.pop(TASK_END, None)
            local_trace.leave(self._token)
            self._root.close()
        outer = local_trace.current()
        if outer is not None and error is not None:
            outer.error_id = id(error)
        labels = {"task": task.name, "worker": self._request.hostname}
        contrib.histogram().record(elapsed, labels)

    def _error(self, state: str | None, retval: Any) -> BaseException | None:
        raised = sys.exc_info()[1]
        if raised is not None and (state is None or raised is not self._handled):
            return raised
        return retval if state not in (None, "SUCCESS") and isinstance(retval, BaseException) else None


def _outcome(task: Any, error: BaseException | None) -> str:
    if error is None:
        return "succeeded"
    from celery.exceptions import Ignore, Reject, Retry

    for kind, outcome in ((Retry, "retried"), (Ignore, "ignored"), (Reject, "rejected")):
        if isinstance(error, kind):
            return outcome
    throws = task.throws
    return "expected_failure" if throws and isinstance(error, throws) else "failed"


def _describe(root: spans.OpenSpan, task: Any, state: str | None, error: BaseException | None) -> None:
    outcome = _outcome(task, error)
    found = {names.CELERY_OUTCOME: outcome}
    if state is not None:
        found[names.CELERY_STATE] = state
    recorded = error
    if error is not None and outcome == "failed":
        found[names.ERROR_TYPE] = type_name(error)
        root.span.set_status(Status(StatusCode.ERROR, error_description(error)))
    elif error is not None and outcome == "retried":
        found[names.CELERY_RETRY_REASON] = message_of(error)
        recorded = getattr(error, "exc", None) or error
    elif outcome in ("ignored", "rejected"):
        recorded = getattr(error, "reason", None)
    for key, value in found.items():
        root.note(key, value)
    if isinstance(recorded, BaseException):
        root.span.add_event("exception", exception_attributes(recorded))


def _origin(request: Any, attributes: dict[str, Any]) -> tuple[Context, tuple[Link, ...]]:
    """Context a run starts in, and its link; notes the link's target, which backends drop, among the attributes."""
    if request.is_eager:
        return get_current(), ()
    # Nothing of the worker's own context: what a task leaves behind must not become the parent of the next.
    context = propagate.extract(request, Context(), _getter)
    published = get_current_span(context).get_span_context()
    if not published.is_valid:
        return context, ()
    attributes[names.CELERY_LINKED_TRACE_ID] = format_trace_id(published.trace_id)
    attributes[names.CELERY_LINKED_SPAN_ID] = format_span_id(published.span_id)
    if configuration.settings.task_parent == "link" or contrib.State.use_span_links:
        context = set_span_in_context(INVALID_SPAN, context)
    return context, (Link(published, _LINK),)


def _prerun(task: Any, **_: Any) -> None:
    pipeline = spans.pipeline()
    if pipeline is None or spans.is_suppressed():
        return
    request = task.request
    attributes = run_attributes(task, request)
    context, links = _origin(request, attributes)
    root = spans.start_root(pipeline, SCOPE, f"run/{task.name}", SpanKind.CONSUMER, context, attributes, links)
    if root is None:
        return
    if len(_running) >= _MAX_RUNNING:
        _running.pop(next(iter(_running)), None)
    root.enter(context)
    running = _running[id(request)] = RunningTask(request, root, pipeline.max_spans_per_trace)
    if aliases := _getter.get(request, PUBLISHED_HEADER):
        running.note_published_in(aliases[0])


def _postrun(task: Any, state: str | None = None, retval: Any = None, **_: Any) -> None:
    running = _running.pop(id(task.request), None)
    if running is not None:
        running.end(task, state, retval)


RECEIVERS = Receivers(SCOPE, task_prerun=_prerun, task_postrun=_postrun)
CONTRIB = contrib.TakeOver(
    task_prerun="_trace_prerun",
    task_postrun="_trace_postrun",
    task_failure="_trace_failure",
    task_retry="_trace_retry",
)


def _uninstall() -> None:
    RECEIVERS.disconnect()
    CONTRIB.give_back()
    contrib.forget()
    _running.clear()


SEAM = Seam(
    "celery.run",
    patches=(*RECEIVERS.patches, *CONTRIB.patches, contrib.AGAIN),
    spans=(
        SpanDoc(
            "run/shop.tasks.send_invoice",
            "CONSUMER",
            "a run of a task, from task_prerun to task_postrun",
            (
                names.CELERY_ACTION,
                names.CELERY_TASK_NAME,
                names.CELERY_STATE,
                names.CELERY_OUTCOME,
                names.CELERY_RETRIES,
                names.CELERY_RETRY_REASON,
                names.CELERY_HOSTNAME,
                names.CELERY_ORIGIN,
                names.CELERY_DELIVERY_INFO,
                names.CELERY_ETA,
                names.CELERY_EXPIRES,
                names.CELERY_TIMELIMIT,
                names.CELERY_REPLY_TO,
                names.CELERY_COMPRESSION,
                names.CELERY_EAGER,
                names.CELERY_PUBLISHED_IN_TRANSACTION,
                names.CELERY_ROOT_ID,
                names.CELERY_PARENT_ID,
                names.CELERY_GROUP_ID,
                names.CELERY_LINKED_TRACE_ID,
                names.CELERY_LINKED_SPAN_ID,
                names.CODE_FUNCTION_NAME,
                names.CODE_FILE_PATH,
                names.CODE_LINE_NUMBER,
                names.MESSAGING_SYSTEM,
                names.MESSAGING_OPERATION_NAME,
                names.MESSAGING_OPERATION_TYPE,
                names.MESSAGING_DESTINATION_NAME,
                names.MESSAGING_DESTINATION,
                names.MESSAGING_MESSAGE_ID,
                names.MESSAGING_CONVERSATION_ID,
                names.MESSAGING_CONTRIB_CONVERSATION_ID,
                names.SERVER_ADDRESS,
                names.SERVER_PORT,
                names.ERROR_TYPE,
            ),
        ),
    ),
    on_install=CONTRIB.take,
    on_uninstall=_uninstall,
)
