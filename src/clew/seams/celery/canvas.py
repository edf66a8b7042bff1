"""`canvas group`, `canvas chord`, `errback <task>`: a canvas is one trace, a chord's body knows its header.

Each message of a group would start a trace of its own in a script, a shell or a management command without a span. We
stand at `group.apply_async` and `chord.apply_async`; where a span is current nothing is added. We stand where a chord's
header is frozen, `group._freeze_group_tasks`, the one moment at which its size and its body are known: the body's
message is given both, so that its run is linked to every task it has waited for (contrib knows the last one only;
upstream-defects, celery 8). And at `Signature.__call__` below `Backend._call_task_errbacks`, because Celery does not
send an error callback that takes request, error and traceback, but calls it in the run that failed.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any

from opentelemetry.trace import SpanKind, get_current_span

from clew import attributes as names
from clew.core import configuration, spans
from clew.core.around import around
from clew.core.code_location import code_attributes
from clew.engine import isolation
from clew.engine.seam import Patch, Seam, SpanDoc, like
from clew.seams.celery import contrib
from clew.seams.celery.headers import CHORD, Chord

SCOPE = __name__
ERRBACKS = spans.Scope(__name__)
_MAX_FIRST = 1000


def _open(kind: str) -> Any:
    def open_span(args: tuple[Any, ...], kwargs: dict[str, Any]) -> spans.OpenSpan | None:
        pipeline = spans.pipeline()
        if pipeline is None or get_current_span().get_span_context().is_valid or spans.is_suppressed():
            return None
        # A subclass of list may be a generator's, which must not be used up.
        if kind == "group" and type(args[0].tasks) is list and len(args[0].tasks) < 2:
            return None
        attributes = {names.CELERY_CANVAS: kind}
        span = spans.start_root(pipeline, SCOPE, f"canvas {kind}", SpanKind.INTERNAL, None, attributes)
        if span is not None:
            span.enter()
        return span

    return open_span


_calls_errbacks: ContextVar[bool] = ContextVar("clew_calls_errbacks", default=False)


def _calling_errbacks(original: Any) -> Any:
    def _call_task_errbacks(*args: Any, **kwargs: Any) -> Any:
        token = _calls_errbacks.set(True)
        try:
            return original(*args, **kwargs)
        finally:
            _calls_errbacks.reset(token)

    return like(original, _call_task_errbacks)


def _open_errback(args: tuple[Any, ...], _: dict[str, Any]) -> spans.OpenSpan | None:
    if not _calls_errbacks.get():
        return None
    signature = args[0]
    attributes = {names.CELERY_TASK_NAME: str(signature.task), **code_attributes(signature.type.run)}
    return ERRBACKS.open(f"errback {signature.task}", attributes)


def _freezing(original: Any) -> Any:
    def _freeze_group_tasks(group: Any, *args: Any, **kwargs: Any) -> Any:
        frozen = original(group, *args, **kwargs)
        try:
            body = kwargs.get("chord")
            if body is not None and spans.pipeline() is not None:
                _tell_body(body, group.tasks, frozen[0])
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, SCOPE)
        return frozen

    return like(original, _freeze_group_tasks)


def _tell_body(body: Any, tasks: Any, group_id: Any) -> None:
    """Let the message of a chord's body say which header it belongs to."""
    if type(tasks) is not list or not tasks:
        return  # a generator, which must not be used up
    context = get_current_span().get_span_context()
    has_own_traces = configuration.settings.task_parent == "link" or contrib.State.use_span_links
    if not has_own_traces and not context.is_valid:
        return
    # Sent by `Task.replace`, both the body and the header's tasks say how often.
    nesting = body.options.get("replaced_task_nesting") or 0
    said = Chord(str(group_id), len(tasks), 0 if has_own_traces else context.trace_id, nesting).text()
    for first in _first_of(body, [_MAX_FIRST]):
        first.options["headers"] = {**(first.options.get("headers") or {}), CHORD: said}


def _first_of(signature: Any, left: list[int]) -> Iterator[Any]:
    """The tasks of a signature that are sent first."""
    canvas: Any = sys.modules["celery.canvas"]
    left[0] -= 1
    if left[0] < 0:
        return
    if isinstance(signature, canvas._chain):
        yield from _first_of(signature.tasks[0], left) if signature.tasks else ()
    elif isinstance(signature, (canvas.group, canvas._chord)):
        tasks = signature.tasks
        tasks = tasks.tasks if isinstance(tasks, canvas.group) else tasks
        for each in tasks if type(tasks) in (list, tuple) else ():
            yield from _first_of(each, left)
    elif isinstance(signature, canvas.Signature):
        yield signature


SEAM = Seam(
    "celery.canvas",
    patches=(
        Patch("celery.canvas", "group.apply_async", around(_open("group"))),
        Patch("celery.canvas", "_chord.apply_async", around(_open("chord"))),
        Patch("celery.canvas", "group._freeze_group_tasks", _freezing),
        Patch("celery.canvas", "Signature.__call__", around(_open_errback)),
        Patch("celery.backends.base", "Backend._call_task_errbacks", _calling_errbacks),
    ),
    spans=(
        SpanDoc(
            "canvas group",
            "INTERNAL",
            "a group of several tasks, or a chord, that is sent outside of any span; until its messages are sent",
            (names.CELERY_CANVAS,),
        ),
        SpanDoc(
            "errback shop.tasks.tell",
            "INTERNAL",
            "an error callback that Celery calls in the run that failed, since it takes request, error and traceback",
            (names.CELERY_TASK_NAME, names.CODE_FUNCTION_NAME, names.CODE_FILE_PATH, names.CODE_LINE_NUMBER),
        ),
    ),
)
