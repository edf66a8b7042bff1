"""The CONSUMER span `run/<task>`, from `task_prerun` to `task_postrun`.

We stand at the two signals because they also work in a worker whose tasks' tracers were built before us (set-up in
`worker_process_init`), and because Celery sends the second one in a `finally`: it sees every end, the exception that is
on its way included (SystemExit, a propagated eager error). Its parent is the publish span, and it is linked to it; with
`task_parent="link"` it starts a trace of its own. Baggage comes along either way.
"""

from __future__ import annotations

from typing import Any

from opentelemetry import propagate
from opentelemetry.context import Context, get_current
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    SpanKind,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)

from clew import attributes as names
from clew.core import configuration, spans
from clew.core.seam import Seam, SpanDoc
from clew.core.transactions import PUBLISHED_HEADER
from clew.seams.celery import contrib
from clew.seams.celery.messaging import run_attributes
from clew.seams.celery.receivers import Receivers
from clew.seams.celery.running import RunningTask

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
    running = _running[id(request)] = RunningTask(task, request, root, pipeline.max_spans_per_trace)
    if aliases := _getter.get(request, PUBLISHED_HEADER):
        running.note_published_in(aliases[0])


def _postrun(task: Any, state: str | None = None, retval: Any = None, **_: Any) -> None:
    running = _running.pop(id(task.request), None)
    if running is not None:
        running.end(state, retval)


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
