"""The CONSUMER span `run/<task>`, from `task_prerun` to `task_postrun`.

We stand at the two signals because they also work in a worker whose tasks' tracers were built before us (set-up in
`worker_process_init`), and because Celery sends the second one in a `finally`: it sees every end, the exception that is
on its way included (SystemExit, a propagated eager error). Its parent is the publish span, and it is linked to it; with
`task_parent="link"`, or as one of very many (`fan_out`), it starts a trace of its own. Baggage comes along either way.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import Link, SpanContext, SpanKind, TraceFlags, get_current_span

from clew import attributes as names
from clew.engine.metric import is_metered
from clew.engine.seam import Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.celery import contrib
from clew.seams.celery.message import attempts, metrics
from clew.seams.celery.message.attempts import chord_of, header, origin_of
from clew.seams.celery.message.attributes import consuming_broker, run_attributes
from clew.seams.celery.message.fan_out import MAX_HEADER_LINKS
from clew.seams.celery.message.headers import read_chord, received_of
from clew.seams.celery.message.values import text_of
from clew.seams.celery.message.waiting import waits
from clew.seams.celery.receive import derives_chord_ids
from clew.seams.celery.receivers import Receivers
from clew.seams.celery.run.batch import Batch, batches
from clew.seams.celery.run.running import RunningTask
from clew.spans import scope as spans
from clew.spans.pipeline import Pipeline
from clew.story.transactions import PUBLISHED_HEADER

SCOPE = __name__
_MAX_RUNNING = 10_000
_running: dict[int, RunningTask] = {}


class State:
    """Whether this process has met a batch."""

    stands_at_batches = False


def _to_header(request: Any, attributes: dict[str, Any], pipeline: Pipeline) -> tuple[Link, ...]:
    """Links from a chord's body to the first run of each task of its header."""
    chord = read_chord(chord_of(request))
    if chord is None or request.is_eager:
        return ()
    attributes[names.CELERY_CHORD_GROUP_ID], attributes[names.CELERY_CHORD_SIZE] = chord.group_id, chord.size
    if not derives_chord_ids(pipeline, chord.nesting):
        return ()
    kind, flags, found = {names.CLEW_LINK_KIND: "chord_header"}, TraceFlags(TraceFlags.SAMPLED), []
    for index in range(min(chord.size, MAX_HEADER_LINKS)):
        found.append(Link(SpanContext(*chord.run_ids(index), is_remote=True, trace_flags=flags), kind))
    return tuple(found)


def _batch_of(task: Any, args: Any) -> Batch | None:
    kind = batches()
    if kind is None or not isinstance(task, kind) or task.request.is_eager:
        return None
    if not State.stands_at_batches:
        State.stands_at_batches = True
        SEAM.patch_attribute(kind, "__call__", Around(note=_raised))
    held = args[0] if isinstance(args, (list, tuple)) and args else None
    return Batch(task, held) if type(held) is list else None


def _raised(task: Any, /, error: BaseException | None) -> None:
    """celery-batches catches what its task raises, and says FAILURE without it."""
    running = _running.get(id(task.request))
    if running is not None:
        running.raised = error


def _prerun(task: Any, args: Any = None, **_: Any) -> None:
    pipeline = spans.pipeline()
    request = task.request
    if pipeline is None or request is None or spans.is_suppressed():
        return
    attributes: dict[str, Any] = {}
    links: tuple[Link, ...] = ()
    received = None if request.is_eager else received_of(request)
    batch = _batch_of(task, args)
    waited = waits(request, received, attributes) if batch is None else batch.waited(attributes)
    origin = origin_of(request, attributes)
    if pipeline.drops(get_current_span(origin.context).get_span_context()) and not is_metered():
        attributes = consuming_broker(task.app)
    else:
        attributes.update(run_attributes(task, request))
        links = (*origin.links, *_to_header(request, attributes, pipeline)) if batch is None else batch.links()
    name, ids = f"run/{task.name}", received[2:4] if received is not None else (0, 0)
    root = spans.start_root(
        *(pipeline, SCOPE, name, SpanKind.CONSUMER, origin.context, attributes, links),
        ids=ids,
        is_own_trace=origin.is_own_trace,
    )
    if root is None:
        return
    if len(_running) >= _MAX_RUNNING:
        _running.pop(next(iter(_running)), None)
    if (stale := _running.pop(id(request), None)) is not None:
        stale.end(None, None)  # somebody has sent the signal twice
    running = RunningTask(task, request, root, pipeline.max_spans_per_trace)
    root.enter(origin.context)
    _running[id(request)], running.batch = running, batch
    running.begin(waited, attributes, origin)
    RECEIVERS.come_last("task_postrun")
    if aliases := text_of(header(request, PUBLISHED_HEADER)):
        running.note_published_in(aliases)


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
    contrib.reset()
    metrics.reset()
    attempts.reset()
    _running.clear()
    State.stands_at_batches = False


SEAM = Seam(
    "celery.run",
    patches=(*RECEIVERS.patches, *CONTRIB.patches, contrib.AGAIN),
    spans=(
        SpanDoc(
            "run/shop.tasks.send_invoice",
            "CONSUMER",
            "a run of a task, from task_prerun to task_postrun",
            (
                *(names.CELERY_ACTION, names.CELERY_TASK_NAME, names.CELERY_STATE, names.CELERY_OUTCOME),
                *(names.CELERY_ETA_MS, names.CELERY_QUEUE_MS, names.CELERY_QUEUE_SLOW, names.CELERY_PREFETCH_MS),
                *(names.CELERY_CLOCK_SKEW_MS, names.CELERY_REDELIVERED, names.CELERY_RUN_NUMBER),
                *(names.CELERY_RETRIES, names.CELERY_MAX_RETRIES, names.CELERY_RETRIES_EXHAUSTED),
                *(names.CELERY_RETRY_REASON, names.CELERY_RETRY_DELAY_MS, names.CELERY_HANDLING_ERROR),
                *(names.CELERY_PREVIOUS_TRACE_ID, names.CELERY_PREVIOUS_SPAN_ID, names.CELERY_REQUEUE),
                *(names.PROCESS_MEMORY_DELTA, names.CELERY_HOSTNAME, names.CELERY_ORIGIN, names.CELERY_DELIVERY_INFO),
                *(names.CELERY_ETA, names.CELERY_EXPIRES, names.CELERY_TIMELIMIT, names.CELERY_REPLY_TO),
                *(names.CELERY_COMPRESSION, names.CELERY_EAGER, names.CELERY_PUBLISHED_IN_TRANSACTION),
                *(names.CELERY_ROOT_ID, names.CELERY_PARENT_ID, names.CELERY_GROUP_ID, names.CELERY_GROUP_INDEX),
                *(names.CELERY_CHORD_GROUP_ID, names.CELERY_CHORD_SIZE, names.CELERY_MAPPED_TASK),
                *(names.CELERY_MAPPED_COUNT, names.CELERY_LINKED_TRACE_ID, names.CELERY_LINKED_SPAN_ID),
                *(names.CLEW_FAN_OUT_POSITION, names.CLEW_FAN_OUT_OWN_TRACE),
                *names.CODE,
                *(names.MESSAGING_SYSTEM, names.MESSAGING_OPERATION_NAME, names.MESSAGING_OPERATION_TYPE),
                *(names.MESSAGING_DESTINATION_NAME, names.MESSAGING_ROUTING_KEY, names.MESSAGING_DESTINATION),
                *(names.MESSAGING_MESSAGE_ID, names.MESSAGING_CONVERSATION_ID),
                *(names.MESSAGING_CONTRIB_CONVERSATION_ID, names.MESSAGING_BATCH_MESSAGE_COUNT, names.SERVER_ADDRESS),
                names.SERVER_PORT,
            ),
        ),
        SpanDoc(
            "batched/shop.tasks.index",
            "CONSUMER",
            "a message that was run together with others (celery-batches), in its own trace, as long as the run",
            (names.CELERY_BATCH_TRACE_ID, names.CELERY_BATCH_SPAN_ID),
        ),
    ),
    on_install=CONTRIB.take,
    on_uninstall=_uninstall,
    needs=(*CONTRIB.needs, *contrib.OPTIONS),
)
