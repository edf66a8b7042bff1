"""Who is told what: the detectors that watch, and the measure from which on they want to hear of something.

Seams and processors call the hooks in `watchers` and know no detector; a detector that is switched off costs nothing,
because its hooks are not there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable
from dataclasses import dataclass, fields
from typing import Any, Final

from clew.engine import isolation, silenced

# What a detector's `on_repeat` says of a place it has seen enough of.
SETTLED: Final = True


@dataclass(frozen=True)
class Detector:
    """One problem: its name is that of its file in `detectors/`; the hooks it has are called, the others cost nothing.

    Args:
        type: the finding's type.
        doc: what it finds, for docs/findings.md; `fix` and `not_found` what to do and what it leaves alone.
        on_repeat: (query, place) before a query that has been run before is run again; what it gives is SETTLED when no
            further run from that place can tell it anything.
        on_slow: (query) after one that took `slow_query_threshold_ms`.
        on_rows: (query) after one that returned `unbounded_fetch_threshold_rows`.
        on_read: (query) after a query that only reads, once something has been written.
        on_transaction: (transaction) when it is over (see story/transactions.py).
        on_commit_hooks: (connection, hooks, transaction) before the on_commit hooks of a transaction are run.
        on_publish: (publish) before a task is sent.
        on_sent: (publish) after a task was sent, with how long that took and the bytes of its body.
        on_queue: (queue) after a task was sent to a queue nobody reads (see story/unread_queue.py).
        on_client_call: (span) after a call to another service, by anybody's instrumentation.
        on_call_begin: (call, log) before such a call of a request or task is made (see story/external_calls.py).
        on_call_end: (call, log) when it is over.
        on_cache: (operation, log) after an operation on a cache (see story/cache_operation.py).
        on_remote_cache: (operation, log) the same, of a cache in another process.
        on_permission: (check) after a question for a permission (see story/permission_check.py).
        on_loop_query: (query) before a query that is run in an event loop's own thread.
        on_loop_blocked: (block) while an event loop stands (see story/loop_block.py), in another thread.
        on_task_end: (run) before a task's run ends, with its outcome, error and result (see story/task_run.py).
        on_end: (local) before the root ends.
    """

    type: str
    doc: str = ""
    fix: str = ""
    not_found: str = ""
    on_repeat: Callable[..., bool] | None = None
    on_slow: Callable[..., None] | None = None
    on_rows: Callable[..., None] | None = None
    on_read: Callable[..., None] | None = None
    on_transaction: Callable[..., None] | None = None
    on_commit_hooks: Callable[..., None] | None = None
    on_publish: Callable[..., None] | None = None
    on_sent: Callable[..., None] | None = None
    on_queue: Callable[..., None] | None = None
    on_client_call: Callable[..., None] | None = None
    on_call_begin: Callable[..., None] | None = None
    on_call_end: Callable[..., None] | None = None
    on_cache: Callable[..., None] | None = None
    on_remote_cache: Callable[..., None] | None = None
    on_permission: Callable[..., None] | None = None
    on_loop_query: Callable[..., None] | None = None
    on_loop_blocked: Callable[..., None] | None = None
    on_task_end: Callable[..., None] | None = None
    on_end: Callable[..., None] | None = None


HOOKS = tuple(each.name for each in fields(Detector) if each.name.startswith("on_"))


class Watchers:
    """Who is told what, and from which measure on; written by `watch`, read by seams and processors."""

    on_repeat: tuple[Callable[..., bool], ...] = ()
    on_slow: tuple[Callable[..., None], ...] = ()
    on_rows: tuple[Callable[..., None], ...] = ()
    on_read: tuple[Callable[..., None], ...] = ()
    on_transaction: tuple[Callable[..., None], ...] = ()
    on_commit_hooks: tuple[Callable[..., None], ...] = ()
    on_publish: tuple[Callable[..., None], ...] = ()
    on_sent: tuple[Callable[..., None], ...] = ()
    on_queue: tuple[Callable[..., None], ...] = ()
    on_client_call: tuple[Callable[..., None], ...] = ()
    on_call_begin: tuple[Callable[..., None], ...] = ()
    on_call_end: tuple[Callable[..., None], ...] = ()
    on_cache: tuple[Callable[..., None], ...] = ()
    on_remote_cache: tuple[Callable[..., None], ...] = ()
    on_permission: tuple[Callable[..., None], ...] = ()
    on_loop_query: tuple[Callable[..., None], ...] = ()
    on_loop_blocked: tuple[Callable[..., None], ...] = ()
    on_task_end: tuple[Callable[..., None], ...] = ()
    on_end: tuple[Callable[..., None], ...] = ()
    never = 1 << 62
    slow_ns = never
    many_rows = never
    # The run of a query from which its place in the code is looked at.
    look_from = never
    threshold = never
    # How often an unsampled request looks where one repeated query comes from.
    looks = 0
    # The same for one that writes.
    write_looks = 0
    # What was found at a place of the code before, and from which run on, by the place.
    verdicts: dict[int, tuple[str, int]]

    def __init__(self) -> None:
        self.verdicts = {}


watchers = Watchers()


def watch(
    detectors: Iterable[Detector],
    *,
    threshold: int = 5,
    slow_ms: float = 0,
    many_rows: int = 0,
    write_threshold: int = 10,
    is_thorough: bool = False,
) -> None:
    """Have these detectors told; an error of one is reported, never raised into the application.

    Args:
        threshold: runs of one query from one place that make an N+1.
        write_threshold: the same for one that writes.
        slow_ms, many_rows: from when on a query is slow, a result large; 0: never.
        is_thorough: look at a query's place from its first run on.
    """
    found = list(detectors)
    silenced.listen(
        functools.partial(
            watch,
            found,
            threshold=threshold,
            slow_ms=slow_ms,
            many_rows=many_rows,
            write_threshold=write_threshold,
            is_thorough=is_thorough,
        )
    )
    watching = [each for each in found if each.type not in silenced.types]
    watchers.verdicts.clear()
    for name in HOOKS:
        hooks = [_guarded(each.type, getattr(each, name)) for each in watching if getattr(each, name) is not None]
        setattr(watchers, name, tuple(hooks))
    watchers.slow_ns = int(slow_ms * 1e6) if slow_ms and watchers.on_slow else Watchers.never
    watchers.many_rows = many_rows if many_rows and watchers.on_rows else Watchers.never
    watchers.threshold = max(threshold, 1)
    watchers.looks = watchers.threshold + 3 if watchers.on_repeat else 0
    watchers.write_looks = write_threshold + 3 if watchers.on_repeat else 0
    # Called for every repeated query: guarded once for all of them, where they are called.
    watchers.on_repeat = tuple(each.on_repeat for each in watching if each.on_repeat is not None)
    watchers.look_from = Watchers.never if not watchers.on_repeat else 1 if is_thorough or threshold <= 2 else 2


def _guarded(kind: str, hook: Callable[..., None]) -> Callable[..., None]:
    def guarded(*args: Any) -> None:
        try:
            hook(*args)
        except Exception as error:  # noqa: BLE001 - ours must not reach the application
            isolation.report(error, f"detectors.{kind}")

    return guarded
