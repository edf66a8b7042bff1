"""No span of its own: when a worker got a message and when it handed it to its pool, for the span of the run.

A task waits three times: for its ETA, in the broker, and in the worker until a pool process is free. Only the worker's
main process knows where the second ends and the third begins. We stand at `task_received`, and at
`WorkController._process_task`, which every message passes on its way to the pool (after its ETA and its rate limit), so
that a second run of one task id can be told. Both write into the request's own copy of the headers, which Celery sends
to the child.

The span id of the run is made here as well, one for each delivery: should the child die, the main process can tell of
the run under the very id that the child's spans name as their parent. That of a chord's header task follows from its
group and index, so that the body can link to it without anybody's asking a broker or backend.
"""

from __future__ import annotations

import sys
from collections import OrderedDict
from time import time_ns
from typing import Any

from opentelemetry.sdk.trace.id_generator import RandomIdGenerator

from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around
from clew.seams.celery.message.headers import RECEIVED, Received, chord_run_ids, read_received
from clew.seams.celery.message.metrics import consumed
from clew.seams.celery.message.values import count_of, mapping_of, text_of
from clew.seams.celery.receivers import Receivers
from clew.spans import scope as spans
from clew.spans.pipeline import Pipeline

SCOPE = __name__
_MAX_REMEMBERED = 10_000
# Runs handed to the pool, by task id: which attempt, and how many of it.
_started: OrderedDict[str, tuple[tuple[Any, Any], int]] = OrderedDict()
# Derived ids that have been given out: before Celery 5.7 a chord that is sent twice has one group id.
_given: OrderedDict[int, None] = OrderedDict()


def derives_chord_ids(pipeline: Pipeline, nesting: int) -> bool:
    """Whether a chord's header tasks have ids that follow from group and index: not where the site makes its own."""
    # Before 5.7 the tasks of a group that replaces another task all have the index of that one.
    is_index_unique = not nesting or sys.modules["celery"].VERSION >= (5, 7)
    is_random = type(pipeline.provider.id_generator) is RandomIdGenerator
    return is_index_unique and is_random and pipeline.allows_light_roots


def _received(sender: Any, request: Any, **_: Any) -> None:
    pipeline, held = spans.pipeline(), _held(request)
    if pipeline is None or held is None:
        return
    eta = request.eta
    eta_ns = int(eta.timestamp() * 1e9) if eta is not None else 0
    held[RECEIVED] = Received(time_ns(), eta_ns, *_ids(pipeline, request, held), 1).text()
    consumed(request.task.app, held)


def _held(request: Any) -> dict[str, Any] | None:
    """A request's copy of its message's headers; None for one of a class that has none."""
    held = getattr(request, "request_dict", None)
    return held if type(held) is dict else None


def _ids(pipeline: Pipeline, request: Any, held: dict[str, Any]) -> tuple[int, int]:
    """Trace and span id of a run, unique for each delivery, also where a chord's are derived."""
    index = count_of(held.get("group_index"))
    nesting = count_of(held.get("replaced_task_nesting")) or 0
    is_first = not (count_of(held.get("retries")) or mapping_of(held.get("delivery_info")).get("redelivered"))
    if index is not None and is_first and request.chord and derives_chord_ids(pipeline, nesting):
        ids = chord_run_ids(text_of(held.get("group")), index, nesting)
        if ids[1] not in _given:
            _given[ids[1]] = None
            if len(_given) > _MAX_REMEMBERED:
                _given.popitem(last=False)
            return ids
    return pipeline.new_trace_id(), pipeline.new_span_id()


def _count(req: Any) -> None:
    """Store in the request which run of its task id it is."""
    held = _held(req)
    if held is None:
        return
    attempt = count_of(held.get("retries")), count_of(held.get("replaced_task_nesting"))
    before = _started.pop(req.id, None)
    number = before[1] + 1 if before is not None and before[0] == attempt else 1
    _started[req.id] = attempt, number
    if len(_started) > _MAX_REMEMBERED:
        _started.popitem(last=False)
    if number > 1 and (received := read_received(held.get(RECEIVED))) is not None:
        held[RECEIVED] = received._replace(number=number).text()


def _uninstall() -> None:
    RECEIVERS.disconnect()
    _started.clear()
    _given.clear()


RECEIVERS = Receivers(SCOPE, task_received=_received)

SEAM = Seam(
    "celery.receive",
    patches=(
        *RECEIVERS.patches,
        Patch("celery.worker.worker", "WorkController._process_task", Around(lambda req: _count(req))),
    ),
    on_uninstall=_uninstall,
)
