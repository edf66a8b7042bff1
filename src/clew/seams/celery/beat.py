"""`beat entry <name>`, where the trace of a due entry of beat's schedule starts, and `beat tick`, in which it was due.

We stand at `Scheduler.apply_async`, through which every scheduler sends an entry: Celery's own by `apply_entry`, which
swallows the error we want to see, and others (RedBeat) at once. The publish is below it, and the worker's run below
that. `Scheduler.tick` is where they belong together; one in which nothing was due, nothing failed and that took less
than a second is not told. A scheduler that has methods of its own is met at `Service.get_scheduler`.

Nobody runs exit handlers in the process of `celery worker -B`: for that we stand at `Service.start`.
"""

from __future__ import annotations

import sys
from contextvars import ContextVar, Token
from time import time_ns
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, format_span_id, format_trace_id

from clew import attributes as names
from clew.engine.exits import undisturbed
from clew.engine.flush import flush_before_exit
from clew.engine.needs import attributes
from clew.engine.seam import Patch, Seam, SpanDoc
from clew.engine.wrapper import Around
from clew.source.code_location import code_attributes
from clew.spans import scope as spans
from clew.story.local_root import LocalRoot

SCOPE = __name__
_LONG_NS = 1_000_000_000
_MAX_ENTRIES = 50
_MAX_TEXT = 200
_TO_TICK = {names.CLEW_LINK_KIND: "beat_tick"}
_TO_ENTRY = {names.CLEW_LINK_KIND: "beat_entry"}


class Tick:
    """One iteration of a scheduler, in progress. Its span is opened when it is worth one.

    Args:
        scheduler: Celery's.
    """

    def __init__(self, scheduler: Any) -> None:
        self._scheduler = scheduler
        self._started_ns = time_ns()
        self._root: spans.OpenSpan | None = None
        self._entries: list[str] = []
        self._traces: list[str] = []
        # The entry that is being sent, so that a method that calls its parent class' tells it once.
        self.entry: Any = None
        self._token: Token[Tick | None] | None = None

    def enter(self) -> Tick:
        """Start the tick."""
        self._token = _tick.set(self)
        return self

    def context(self) -> SpanContext | None:
        """Context of its span, which is opened if it was not."""
        if self._root is None:
            self._root = _start("beat tick", {}, (), self._started_ns)
        return self._root.span.get_span_context() if self._root is not None else None

    def link(self, entry: str, context: SpanContext) -> None:
        """Link an entry that is due in this tick."""
        if self._root is not None and len(self._entries) < _MAX_ENTRIES:
            self._entries.append(entry)
            self._traces.append(format_trace_id(context.trace_id))
            self._root.span.add_link(context, _TO_ENTRY)

    def close(self, error: BaseException | None) -> None:
        """End the tick."""
        if self._token is not None:
            _tick.reset(self._token)
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            error = None
        if error is not None or time_ns() - self._started_ns >= _LONG_NS:
            self.context()
        if self._root is None:
            return
        self._root.note(names.CELERY_BEAT_SCHEDULER, _class_name(self._scheduler))
        if self._entries:
            self._root.note(names.CELERY_BEAT_ENTRIES, tuple(self._entries))
            self._root.note(names.CELERY_BEAT_ENTRY_TRACE_IDS, tuple(self._traces))
        # Not `scheduler.schedule`: that may be a query.
        if isinstance(heap := vars(self._scheduler).get("_heap"), list):
            self._root.note(names.CELERY_BEAT_SCHEDULED_COUNT, len(heap))
        self._root.close(error)


_tick: ContextVar[Tick | None] = ContextVar("clew_beat_tick", default=None)


def _begin(positional: tuple[Any, ...]) -> Tick | None:
    return Tick(positional[0]).enter() if _tick.get() is None and spans.pipeline() is not None else None


class _Sending:
    """An entry that is being sent.

    Args:
        tick: in which it was due.
        root: its span.
    """

    def __init__(self, tick: Tick | None, root: LocalRoot | None) -> None:
        self._tick, self._root = tick, root

    def close(self, error: BaseException | None) -> None:
        """End the entry: it was sent, or the broker has refused it."""
        if self._tick is not None:
            self._tick.entry = None
        if self._root is not None:
            self._root.close(error)


def _send(positional: tuple[Any, ...], keywords: dict[str, Any]) -> _Sending | None:
    scheduler, *rest = positional
    entry, tick = rest[0] if rest else keywords.get("entry"), _tick.get()
    if tick is not None and tick.entry is entry:
        return None
    root = _open(scheduler, entry, tick)
    if tick is not None:
        tick.entry = entry
    return _Sending(tick, root)


def _open(scheduler: Any, entry: Any, tick: Tick | None) -> LocalRoot | None:
    if spans.pipeline() is None:
        return None
    found = _described(scheduler, entry)
    links: tuple[Link, ...] = ()
    above = tick.context() if tick is not None else None
    if above is not None:
        found[names.CELERY_BEAT_TICK_TRACE_ID] = format_trace_id(above.trace_id)
        found[names.CELERY_BEAT_TICK_SPAN_ID] = format_span_id(above.span_id)
        links = (Link(above, _TO_TICK),)
    root = _start(f"beat entry {entry.name}", found, links)
    if root is None:
        return None
    if tick is not None:
        tick.link(str(entry.name), root.span.get_span_context())
    root.enter(Context())
    return LocalRoot(root, {names.CELERY_TASK_NAME: str(entry.task)})


def _start(
    name: str, attributes: dict[str, Any], links: tuple[Link, ...], start_ns: int | None = None
) -> spans.OpenSpan | None:
    pipeline = spans.pipeline()
    if pipeline is None or spans.is_suppressed():
        return None
    return spans.start_root(pipeline, SCOPE, name, SpanKind.INTERNAL, Context(), attributes, links, start_ns)


def _described(scheduler: Any, entry: Any) -> dict[str, Any]:
    found: dict[str, Any] = {
        names.CELERY_BEAT_ENTRY: str(entry.name),
        names.CELERY_BEAT_SCHEDULER: _class_name(scheduler),
        names.CELERY_TASK_NAME: str(entry.task),
        names.CELERY_BEAT_SCHEDULE: str(entry.schedule)[:_MAX_TEXT],
        names.CELERY_BEAT_TOTAL_RUN_COUNT: int(entry.total_run_count or 0),
    }
    delay_ms = _delay_ms(entry)
    if delay_ms is not None:
        found[names.CELERY_BEAT_DELAY_MS] = delay_ms
    task = scheduler.app.tasks.get(entry.task)
    if task is not None:
        found.update(code_attributes(task.run))
    return found


def _delay_ms(entry: Any) -> float | None:
    """How late it is, by its schedule; beat itself only asks whether it is."""
    try:
        late_s = -float(entry.schedule.remaining_estimate(entry.last_run_at).total_seconds())
        return round(max(late_s, 0.0) * 1000, 3)
    except Exception:  # noqa: BLE001 - a schedule of the application's own may know of none
        return None


def _class_name(scheduler: Any) -> str:
    kind = type(scheduler)
    return f"{kind.__module__}.{kind.__qualname__}"


def _stand_at(result: Any) -> None:
    """Stand at the methods a scheduler has instead of Celery's."""
    kind = type(result)
    for name, wrap in _METHODS.items():
        owner = next((each for each in kind.__mro__ if name in vars(each)), None)
        if owner is None or owner is sys.modules["celery.beat"].Scheduler or owner in _met:
            continue
        SEAM.patch_attribute(owner, name, wrap)
    _met.update(each for each in kind.__mro__ if each is not object)


_met: set[type] = set()


def _served(*, embedded_process: bool, error: BaseException | None) -> None:
    pipeline = spans.pipeline()
    if embedded_process and pipeline is not None:
        with undisturbed():
            flush_before_exit(pipeline.provider, is_last=True)


_TICK, _ENTRY = Around(_begin), Around(_send)
_METHODS = {"tick": _TICK, "apply_async": _ENTRY}

SEAM = Seam(
    "celery.beat",
    patches=(
        Patch("celery.beat", "Scheduler.tick", _TICK),
        Patch("celery.beat", "Scheduler.apply_async", _ENTRY),
        Patch("celery.beat", "Service.get_scheduler", Around(note=_stand_at)),
        Patch("celery.beat", "Service.start", Around(note=_served)),
    ),
    spans=(
        SpanDoc(
            "beat entry nightly report",
            "INTERNAL",
            "a due entry of beat's schedule, until the broker has its message",
            (
                *(names.CELERY_BEAT_ENTRY, names.CELERY_BEAT_SCHEDULE, names.CELERY_BEAT_SCHEDULER),
                *(names.CELERY_BEAT_TOTAL_RUN_COUNT, names.CELERY_BEAT_DELAY_MS, names.CELERY_BEAT_TICK_TRACE_ID),
                *(names.CELERY_BEAT_TICK_SPAN_ID, names.CELERY_TASK_NAME),
                *names.CODE,
            ),
        ),
        SpanDoc(
            "beat tick",
            "INTERNAL",
            "one look at the schedule; only if something was due, it failed, or took a second",
            (
                *(names.CELERY_BEAT_SCHEDULER, names.CELERY_BEAT_SCHEDULED_COUNT, names.CELERY_BEAT_ENTRIES),
                names.CELERY_BEAT_ENTRY_TRACE_IDS,
            ),
        ),
    ),
    on_uninstall=_met.clear,
    needs=attributes("celery.beat", "Scheduler", "_heap"),
)
