"""One way of a coroutine into a thread and back."""

from __future__ import annotations

import threading
from contextvars import Context
from time import perf_counter_ns, time_ns
from types import FrameType
from typing import Any

from opentelemetry.trace.propagation import _SPAN_KEY

from clew import attributes as names
from clew import span_names
from clew.engine import configuration
from clew.source.call_site import call_site
from clew.source.code_location import dotted_name, unwrapped
from clew.source.stack import AWAITING, Awaiting, waiting_from
from clew.spans import folding
from clew.spans.current import get_current
from clew.spans.light_span import LightSpan
from clew.spans.scope import Scope, parent_in
from clew.story import local_trace
from clew.story.hops import Wait, Work, hops_of
from clew.story.local_trace import LocalTrace

SCOPE = Scope(__name__.rpartition(".")[0])
# Work that was shorter has held nobody.
_SHORT_NS = 500_000


class Hop(Awaiting):
    """A coroutine waits for what it wants run in a thread.

    Args:
        frames, outer: see `Awaiting`.
        local: whose it is.
    """

    __slots__ = ("_perf_ns", "began_ns", "held_by", "local", "wait_ns")

    def __init__(self, frames: tuple[FrameType, ...], outer: Awaiting | None, local: LocalTrace) -> None:
        super().__init__(frames, outer)
        self.local = local
        self.held_by: Work | None = None
        self.wait_ns = 0
        self.began_ns, self._perf_ns = time_ns(), perf_counter_ns()

    def arrive(self, last: Work | None) -> None:
        """The thread has come to it."""
        self.wait_ns = perf_counter_ns() - self._perf_ns
        if last is not None and last.ended_ns > self._perf_ns:
            self.held_by = last


class _Thread(threading.local):
    """Of this thread: what it did last, if that took a while."""

    last: Work | None = None


_thread = _Thread()


def begin(caller: FrameType) -> Hop | None:
    """A coroutine is about to wait."""
    local = local_trace.current() or local_trace.of_current_span()
    if local is None:
        return None
    hop = Hop(waiting_from(caller), AWAITING.get(), local)
    AWAITING.set(hop)
    return hop


def end(bridge: Any, /, opened: Hop, caller: FrameType) -> None:
    """It goes on."""
    # Not by a token: tasks of one context (async receivers from Django 6.1 on) do not end in the order they began.
    following = opened.end()
    if AWAITING.get() is opened:
        AWAITING.set(following)
    hops = hops_of(opened.local)
    hops.count += 1
    hops.wait_ns += opened.wait_ns
    if opened.wait_ns >= configuration.settings.async_wait_threshold_ms * 1e6:
        wait = Wait(_name(bridge), opened.wait_ns, call_site(caller), opened.held_by, bridge._thread_sensitive)
        hops.add(wait)
        show("sync_to_async", opened.began_ns, wait, unwrapped(bridge.func))


def show(way: str, began_ns: int, wait: Wait, function: Any) -> None:
    """A span for a wait that was long; equal ones of one line are one span."""
    parent = _parent(began_ns)
    if parent is None:
        return
    held_by = None if wait.held_by is None else wait.held_by.what
    key = (way, wait.what, wait.site, held_by)
    took_ms = round(wait.took_ns / 1e6, 3)
    may_fold = type(parent) is LightSpan and parent.is_recording()
    first = parent.folds.get(key) if may_fold and parent.folds else None
    if first is not None:
        folding.count_repeat(first, wait.took_ns)
        first.add(names.DJANGO_ASYNC_WAIT_MS, took_ms)
        return
    attributes: dict[str, Any] = {
        names.DJANGO_ASYNC_FUNCTION: wait.what,
        names.DJANGO_ASYNC_WAIT_MS: took_ms,
        **(wait.site.attributes() if wait.site is not None else {}),
    }
    if way == "sync_to_async":
        attributes[names.DJANGO_ASYNC_THREAD_SENSITIVE] = wait.is_thread_sensitive
    if held_by is not None:
        attributes[names.DJANGO_ASYNC_HELD_BY] = held_by
    name = f"{way} {span_names.of_code(wait.what, getattr(function, '__module__', None))}"
    span: Any = SCOPE.under(parent, name, attributes, start_ns=began_ns)
    if span is None:
        return
    if may_fold and type(span) is LightSpan:
        span.end_time = began_ns + wait.took_ns
        folding.fold(span, parent, key)
    else:
        getattr(span, "span", span).end(began_ns + wait.took_ns)


def _parent(began_ns: int) -> Any:
    """The current span; the request's, where the middleware's phase that waited is over."""
    context, local = get_current(), local_trace.current()
    cursor: Any = getattr(local, "cursor", None)
    is_current = context.get(_SPAN_KEY) is cursor
    if cursor is not None and is_current and cursor.has_begun_after(began_ns):
        return cursor.resolve()
    return parent_in(context)


def begin_work(bridge: Any, /, func: Any) -> tuple[int, LocalTrace | None]:
    """A thread begins with what a coroutine waits for."""
    context = _context_of(func)
    hop = context.get(AWAITING) if context is not None else None
    if not isinstance(hop, Hop) or hop.is_over:
        return perf_counter_ns(), None
    hop.arrive(_thread.last)
    return perf_counter_ns(), hop.local


def end_work(bridge: Any, /, opened: tuple[int, LocalTrace | None]) -> None:
    """It is done."""
    began_ns, local = opened
    now = perf_counter_ns()
    _thread.last = Work(_name(bridge), local, now) if now - began_ns >= _SHORT_NS else None


def _context_of(func: Any) -> Context | None:
    """The context that what runs in the thread is run in: `func` is its `run`, or a function that has it."""
    found = getattr(func, "__self__", None)
    if type(found) is Context:
        return found
    for cell in getattr(func, "__closure__", None) or ():
        if type(cell.cell_contents) is Context:
            return cell.cell_contents
    return None


def _name(bridge: Any) -> str:
    return dotted_name(unwrapped(bridge.func))
