"""`canvas group`, `canvas chord`, `errback <task>`: a canvas is one trace, a chord's body knows its header.

Each message of a group would start a trace of its own in a script, a shell or a management command without a span. We
stand at `group.apply_async` and `chord.apply_async`; where a span is current nothing is added. We stand where a chord's
header is frozen, `group._freeze_group_tasks`: the body's message is told its size (see `chords`), so that its run is
linked to every task it has waited for (contrib knows the last one only; docs/upstream.md, celery 8). And at
`Backend.fallback_chord_unlock`, where the message of `chord_unlock` has the body. We stand at `Signature.__call__`
below `Backend._call_task_errbacks`, because Celery does not send an error callback that takes request, error and
traceback, but calls it in the run that failed.
"""

from __future__ import annotations

from contextvars import ContextVar
from typing import Any

from opentelemetry.trace import SpanKind, get_current_span

from clew import attributes as names
from clew.engine import configuration
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.seams.celery import contrib
from clew.seams.celery.message import chords
from clew.seams.celery.message.headers import Chord
from clew.source.code_location import code_attributes
from clew.spans import scope as spans
from clew.story.local_root import LocalRoot

SCOPE = __name__
ERRBACKS = spans.Scope(__name__)


def _open_group(group: Any, /) -> LocalRoot | None:
    if not _is_outside():
        return None
    # A subclass of list may be a generator's, which must not be used up.
    is_one_message = type(group.tasks) is list and len(group.tasks) < 2
    return None if is_one_message else _open("group")


def _open_chord() -> LocalRoot | None:
    return _open("chord") if _is_outside() else None


def _is_outside() -> bool:
    return not get_current_span().get_span_context().is_valid and not spans.is_suppressed()


def _open(kind: str) -> LocalRoot | None:
    pipeline = spans.pipeline()
    if pipeline is None:
        return None
    attributes = {names.CELERY_CANVAS: kind}
    span = spans.start_root(pipeline, SCOPE, f"canvas {kind}", SpanKind.INTERNAL, None, attributes)
    if span is None:
        return None
    span.enter()
    return LocalRoot(span, {})


_calls_errbacks: ContextVar[bool] = ContextVar("clew_calls_errbacks", default=False)


def _open_errback(signature: Any, /) -> spans.OpenSpan | None:
    if not _calls_errbacks.get():
        return None
    attributes = {names.CELERY_TASK_NAME: str(signature.task), **code_attributes(signature.type.run)}
    return ERRBACKS.open(f"errback {signature.task}", attributes)


def _frozen(group: Any, /, chord: Any, result: Any) -> None:
    """The header of a chord was frozen: the one moment at which its size and its body are known."""
    tasks = group.tasks
    if chord is None or spans.pipeline() is None or type(tasks) is not list or not tasks:
        return  # tasks of a generator must not be used up
    context = get_current_span().get_span_context()
    has_own_traces = configuration.settings.task_parent == "link" or contrib.State.use_span_links
    if not has_own_traces and not context.is_valid:
        return
    # Sent by `Task.replace`, both the body and the header's tasks say how often.
    nesting = chord.options.get("replaced_task_nesting") or 0
    trace_id = 0 if has_own_traces else context.trace_id
    chords.remember(result[0], Chord(str(result[0]), len(tasks), trace_id, nesting))


SEAM = Seam(
    "celery.canvas",
    patches=(
        Patch("celery.canvas", "group.apply_async", Around(_open_group)),
        Patch("celery.canvas", "_chord.apply_async", Around(_open_chord)),
        Patch("celery.canvas", "group._freeze_group_tasks", Around(note=_frozen)),
        Patch(
            "celery.backends.base",
            "Backend.fallback_chord_unlock",
            Around(change={"body": lambda header_result, body: chords.annotated_body(body, header_result.id)}),
        ),
        Patch("celery.canvas", "Signature.__call__", Around(_open_errback)),
        Patch(
            "celery.backends.base",
            "Backend._call_task_errbacks",
            Around(lambda: _calls_errbacks.set(True), close=lambda opened: _calls_errbacks.reset(opened)),
        ),
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
            (names.CELERY_TASK_NAME, *names.CODE),
        ),
    ),
    on_uninstall=chords.reset,
)
