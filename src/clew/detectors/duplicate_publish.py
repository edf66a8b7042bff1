"""`duplicate_publish`: one request or task sends the same task with the same arguments twice.

We stand before the publish and compare digests of the arguments, as the task's parameters take them; neither arguments
nor digests are recorded. Only exact plain types can be compared: a subclass, a model, anything lazy makes a publish
incomparable, and it is left alone. Meant to be sent twice, and not found: members of a group or chord, retries, the
same task for another time, queue, broker or app, or under an id of its own.
If something was written between the two, both may be needed and it is only information: one that is sent after the
last write (`transaction.on_commit`) would do.
"""

from __future__ import annotations

import datetime
import decimal
import functools
import hashlib
import inspect
import uuid
from types import FrameType
from typing import Any

from clew.engine import needs
from clew.story.detector import Detector
from clew.story.findings import INFORMATION, WARNING, Finding
from clew.story.local_trace import LocalTrace, Slot
from clew.story.transactions import Publish

_TYPE = "duplicate_publish"
needs.declare(
    __name__,
    *needs.attributes("celery.app.base", "Celery", "_tasks"),
    consequence="duplicate_publish does not see that positional and keyword arguments are the same",
)
_SENT: Slot[dict[bytes, tuple[str, int]]] = Slot()
_MAX_SENT = 1000
_MAX_ITEMS = 500
_MAX_TEXT = 20_000
_MAX_DEPTH = 6
_MAX_LINES = 5
_MAX_FRAMES = 5
_SIMPLE = frozenset(
    {
        type(None),
        type(...),
        bool,
        int,
        float,
        str,
        bytes,
        decimal.Decimal,
        uuid.UUID,
        datetime.date,
        datetime.datetime,
        datetime.timedelta,
    }
)
# What makes a publish another one, and what says that it belongs to something that is sent on purpose.
_DISTINGUISHING = frozenset(
    {
        "task_id",
        "countdown",
        "eta",
        "expires",
        "queue",
        "routing_key",
        "exchange",
        "priority",
        "headers",
        "link",
        "chain",
    }
)
_INTENDED = frozenset({"group_id", "chord", "retries"})


class _IncomparableError(Exception):
    pass


class _Reader:
    """Reads plain values as what looks alike for equal values only; gives up on anything else, and on too much."""

    def __init__(self) -> None:
        self._left = _MAX_ITEMS

    def read(self, value: Any, depth: int = 0) -> Any:
        self._left -= 1
        if self._left < 0 or depth > _MAX_DEPTH:
            raise _IncomparableError
        kind = type(value)
        if kind in _SIMPLE:
            if kind in (str, bytes) and len(value) > _MAX_TEXT:
                raise _IncomparableError
            return value
        if kind in (list, tuple):
            return [self.read(each, depth + 1) for each in value]
        if kind is dict and all(type(key) is str for key in value):
            return {key: self.read(value[key], depth + 1) for key in sorted(value)}
        raise _IncomparableError


def _digest(publish: Publish) -> bytes | None:
    options = publish.options
    if not _INTENDED.isdisjoint(options) and any(options.get(name) for name in _INTENDED):
        return None
    if publish.is_eager and _is_in_chain(publish.frame):
        return None
    apart = {name: options[name] for name in sorted(_DISTINGUISHING.intersection(options)) if options[name] is not None}
    if publish.is_eager:
        apart["task_id"] = _given_id(publish)
    # Of the same process, so that an id is enough; another broker is given as one of these.
    sender = id(publish.app), id(options.get("connection")), id(options.get("producer"))
    try:
        args, kwargs = _taken(publish)
        read = _Reader().read
        text = repr((publish.task_name, sender, read(args), kwargs and read(kwargs), apart and read(apart)))
    except (_IncomparableError, TypeError, ValueError):
        return None
    if len(text) > _MAX_TEXT:
        return None
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16).digest()


def _is_in_chain(frame: FrameType | None) -> bool:
    """Whether an eager chain runs its steps one after the other."""
    for _ in range(_MAX_FRAMES):
        if frame is None or frame.f_globals.get("__name__") not in ("celery.canvas", "celery.app.task"):
            return False
        if frame.f_code.co_name == "apply" and type(frame.f_locals.get("self")).__name__ == "_chain":
            return True
        frame = frame.f_back
    return False


def _given_id(publish: Publish) -> Any:
    """The id the application gives; an eager run is always given one, by Celery."""
    frame = publish.frame
    is_asynchronous = frame is not None and frame.f_code.co_name == "apply_async"
    return frame.f_locals.get("task_id") if is_asynchronous and frame is not None else None


def _taken(publish: Publish) -> tuple[Any, dict[str, Any]]:
    """The arguments by the task's parameters, so that `f(1, 2)` and `f(1, b=2)` are the same."""
    args, kwargs = publish.args or (), publish.kwargs or {}
    task = publish.task if publish.task is not None else dict.get(publish.app._tasks, publish.task_name)
    run = getattr(task, "run", None)
    if run is None:
        return args, kwargs
    try:
        defaults, positional = _parameters(getattr(run, "__func__", run), is_bound=hasattr(run, "__self__"))
    except (TypeError, ValueError):
        return args, kwargs
    named = dict(zip(positional, args, strict=False))
    if len(args) > len(positional) or not named.keys().isdisjoint(kwargs):
        return args, kwargs
    taken = {**defaults, **named, **kwargs}
    return (list(taken.values()), {}) if len(taken) == len(defaults) else ((), taken)


@functools.lru_cache(maxsize=500)
def _parameters(function: Any, *, is_bound: bool) -> tuple[dict[str, Any], tuple[str, ...]]:
    """A task's parameters with their defaults, and those that can be given by position."""
    found = list(inspect.signature(function).parameters.values())[is_bound:]
    named = [each for each in found if each.kind in (each.POSITIONAL_OR_KEYWORD, each.KEYWORD_ONLY)]
    # A default that is not plain is like none: equal to nothing that is given.
    defaults = {each.name: each.default if type(each.default) in _SIMPLE else ... for each in named}
    return defaults, tuple(each.name for each in named if each.kind is each.POSITIONAL_OR_KEYWORD)


def _on_publish(publish: Publish) -> None:
    if type(publish.args) not in (list, tuple, type(None)) or type(publish.kwargs) not in (dict, type(None)):
        return
    digest = _digest(publish)
    if digest is None:
        return
    local = publish.local
    sent = _SENT.get(local)
    if sent is None:
        sent = _SENT.put(local, {})
    before = sent.get(digest)
    writes = local.queries.writes if local.queries is not None else 0
    if before is None:
        if len(sent) < _MAX_SENT:
            sent[digest] = (publish.site.short if publish.site is not None else "", writes)
        return
    _report(publish, local, digest, before[0], has_written=writes > before[1])


def _report(publish: Publish, local: LocalTrace, digest: bytes, first: str, *, has_written: bool) -> None:
    site = publish.site.short if publish.site is not None else ""
    key = (_TYPE, digest)
    known = local.finding(key)
    if known is not None:
        known.evidence["count"] += 1
        lines = known.evidence["lines"]
        if site not in lines and len(lines) < _MAX_LINES:
            known.evidence["lines"] = (*lines, site)
        return
    if local.findings is not None and any(each.type == "late_binding_on_commit" for each in local.findings):
        return  # hooks that all see the last item: that finding says why
    lines = (first,) if first == site else (first, site)
    evidence = {"task": publish.task_name, "count": 2, "lines": lines}
    severity = INFORMATION if has_written else WARNING
    fix = "send it once"
    if has_written:
        fix = "send it once, after the last write: transaction.on_commit(functools.partial(...))"
    local.report(Finding(_TYPE, "", fix, publish.site, evidence, severity, _put_into_words), key)


def _put_into_words(finding: Finding) -> None:
    evidence = finding.evidence
    lines = evidence["lines"]
    where = f"from {lines[0]}" if len(lines) == 1 else f"from {' and '.join(lines)}"
    between = "; something was written in between" if finding.severity == INFORMATION else ""
    finding.message = f"{evidence['task']} was sent {evidence['count']} times with the same arguments, {where}{between}"


DETECTOR = Detector(
    _TYPE,
    doc="The same task was sent with the same arguments more than once in one request or task.",
    fix="Send it once, after the last write.",
    not_found="Groups, chords, retries, other times, queues, brokers, apps or ids, arguments that are not plain "
    "values, hooks that `late_binding_on_commit` explains.",
    on_publish=_on_publish,
)
