"""`beat entry <name>`, where the trace of a due entry of beat's schedule starts, and `beat tick`, in which it was due.

We stand at `Scheduler.apply_async`, through which every scheduler sends an entry: Celery's own by `apply_entry`, which
swallows the error we want to see, and others (RedBeat) at once. The publish is below it, and the worker's run below
that. `Scheduler.tick` is where they belong together; one in which nothing was due, nothing failed and that took less
than a second is not told. A scheduler that has methods of its own is met at `Service.get_scheduler`.

Nobody runs exit handlers in the process of `celery worker -B`: for that we stand at `Service.start`.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextvars import ContextVar
from time import time_ns
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace import Link, SpanContext, SpanKind, format_span_id, format_trace_id

from clew import attributes as names
from clew.core import spans
from clew.core.code_location import code_attributes
from clew.core.flush import flush_before_exit
from clew.engine import isolation
from clew.engine.exits import undisturbed
from clew.engine.seam import Patch, Seam, SpanDoc, like

SCOPE = __name__
_LONG_NS = 1_000_000_000
_MAX_ENTRIES = 50
_MAX_TEXT = 200
_METHODS = ("tick", "apply_async")
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

    def context(self) -> SpanContext | None:
        """Context of its span, which is opened if it was not."""
        if self._root is None:
            self._root = _start("beat tick", {}, (), self._started_ns)
        return self._root.span.get_span_context() if self._root is not None else None

    def link(self, entry: str, context: SpanContext) -> None:
        """Note an entry that is due in it."""
        if self._root is not None and len(self._entries) < _MAX_ENTRIES:
            self._entries.append(entry)
            self._traces.append(format_trace_id(context.trace_id))
            self._root.span.add_link(context, _TO_ENTRY)

    def end(self, error: BaseException | None) -> None:
        """It is over."""
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


def _ticking(original: Any) -> Any:
    def tick(scheduler: Any, *args: Any, **kwargs: Any) -> Any:
        if _tick.get() is not None or spans.pipeline() is None:
            return original(scheduler, *args, **kwargs)
        current, error = Tick(scheduler), None
        token = _tick.set(current)
        try:
            return original(scheduler, *args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            _tick.reset(token)
            _guarded(current.end, error)
            del error

    return like(original, tick)


def _applying(original: Any) -> Any:
    def apply_async(scheduler: Any, entry: Any, *args: Any, **kwargs: Any) -> Any:
        tick = _tick.get()
        if tick is not None and tick.entry is entry:
            return original(scheduler, entry, *args, **kwargs)
        root, error = _open(scheduler, entry, tick), None
        if tick is not None:
            tick.entry = entry
        try:
            return original(scheduler, entry, *args, **kwargs)
        except BaseException as raised:
            error = raised
            raise
        finally:
            if tick is not None:
                tick.entry = None
            if root is not None:
                _guarded(root.close, error)
            del error

    return like(original, apply_async)


def _open(scheduler: Any, entry: Any, tick: Tick | None) -> spans.OpenSpan | None:
    try:
        found = _described(scheduler, entry)
        links: tuple[Link, ...] = ()
        above = tick.context() if tick is not None else None
        if above is not None:
            found[names.CELERY_BEAT_TICK_TRACE_ID] = format_trace_id(above.trace_id)
            found[names.CELERY_BEAT_TICK_SPAN_ID] = format_span_id(above.span_id)
            links = (Link(above, _TO_TICK),)
        root = _start(f"beat entry {entry.name}", found, links)
        if root is not None:
            root.enter(Context())
            if tick is not None:
                tick.link(str(entry.name), root.span.get_span_context())
        return root
    except Exception as ours:  # noqa: BLE001 - ours must not reach beat
        isolation.report(ours, SCOPE)
        return None


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


def _making(original: Any) -> Any:
    def get_scheduler(service: Any, *args: Any, **kwargs: Any) -> Any:
        scheduler = original(service, *args, **kwargs)
        _guarded(_stand_at, type(scheduler))
        return scheduler

    return like(original, get_scheduler)


def _stand_at(kind: type) -> None:
    """Stand at the methods a scheduler has instead of Celery's."""
    for name, wrap in zip(_METHODS, (_ticking, _applying), strict=True):
        owner = next((each for each in kind.__mro__ if name in vars(each)), None)
        if owner is None or owner is sys.modules["celery.beat"].Scheduler or owner in _met:
            continue
        SEAM.patch_attribute(owner, name, wrap)
    _met.update(each for each in kind.__mro__ if each is not object)


_met: set[type] = set()


def _serving(original: Any) -> Any:
    def start(service: Any, embedded_process: bool = False) -> Any:
        try:
            return original(service, embedded_process)
        finally:
            if embedded_process:
                _guarded(_flush)

    return like(original, start)


def _flush() -> None:
    pipeline = spans.pipeline()
    if pipeline is not None:
        with undisturbed():
            flush_before_exit(pipeline.provider, is_last=True)


def _guarded(call: Callable[..., Any], *args: Any) -> None:
    try:
        call(*args)
    except Exception as ours:  # noqa: BLE001 - ours must not reach beat
        isolation.report(ours, SCOPE)


SEAM = Seam(
    "celery.beat",
    patches=(
        Patch("celery.beat", "Scheduler.tick", _ticking),
        Patch("celery.beat", "Scheduler.apply_async", _applying),
        Patch("celery.beat", "Service.get_scheduler", _making),
        Patch("celery.beat", "Service.start", _serving),
    ),
    spans=(
        SpanDoc(
            "beat entry nightly report",
            "INTERNAL",
            "a due entry of beat's schedule, until the broker has its message",
            (
                names.CELERY_BEAT_ENTRY,
                names.CELERY_BEAT_SCHEDULE,
                names.CELERY_BEAT_SCHEDULER,
                names.CELERY_BEAT_TOTAL_RUN_COUNT,
                names.CELERY_BEAT_DELAY_MS,
                names.CELERY_BEAT_TICK_TRACE_ID,
                names.CELERY_BEAT_TICK_SPAN_ID,
                names.CELERY_TASK_NAME,
                names.CODE_FUNCTION_NAME,
                names.CODE_FILE_PATH,
                names.CODE_LINE_NUMBER,
                names.ERROR_TYPE,
            ),
        ),
        SpanDoc(
            "beat tick",
            "INTERNAL",
            "one look at the schedule; only if something was due, it failed, or took a second",
            (
                names.CELERY_BEAT_SCHEDULER,
                names.CELERY_BEAT_SCHEDULED_COUNT,
                names.CELERY_BEAT_ENTRIES,
                names.CELERY_BEAT_ENTRY_TRACE_IDS,
                names.ERROR_TYPE,
            ),
        ),
    ),
    on_uninstall=_met.clear,
)
