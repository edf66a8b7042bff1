"""`publish_in_loop`: a task is sent again and again from one line, where one message for many would do.

Each message costs the sender a way to the broker, and the worker a run. We stand before each send, where the line is
told, and after it, where its time and the bytes of its body are known; it is said on the span that stands for the
others. Not found: fewer than the setting's number, members of groups, chunks and chords, chains, retries, eager calls,
what has a countdown or an ETA. False positives: tasks that are to be retried one by one.
"""

from __future__ import annotations

import ast
import functools
import inspect
from typing import Any

from clew.detectors.on_commit_remedy import call_of
from clew.engine import configuration
from clew.source.call_site import CallSite
from clew.story import findings
from clew.story.detector import Detector
from clew.story.findings import Finding
from clew.story.local_trace import Slot
from clew.story.transactions import Publish

TYPE = "publish_in_loop"
_WARNING_MS = 50
_MAX_LINES = 1000


class _Line:
    """The sends of one task from one line."""

    __slots__ = ("body_bytes", "count", "duration_ns", "fix")

    def __init__(self) -> None:
        self.count = self.duration_ns = self.body_bytes = 0
        self.fix = ""


_LINES: Slot[dict[tuple[str, CallSite], _Line]] = Slot()


def _on_publish(publish: Publish) -> None:
    site, given = publish.site, publish.options.get
    if publish.is_eager or site is None or given("group_id") or given("chord") or given("chain"):
        return
    if given("retries") or given("countdown") or given("eta"):
        return
    lines = _LINES.get(publish.local)
    if lines is None:
        lines = _LINES.put(publish.local, {})
    key = (publish.task_name, site)
    line = lines.get(key)
    if line is None:
        if len(lines) < _MAX_LINES:
            lines[key] = _Line()
    elif not line.fix and line.count + 1 >= configuration.settings.publish_in_loop_threshold:
        line.fix = _fix(publish)  # now: its arguments are not kept


def _on_sent(publish: Publish) -> None:
    lines, site = _LINES.get(publish.local), publish.site
    if lines is None or site is None:
        return
    line = lines.get((publish.task_name, site))
    if line is None:
        return
    line.count += 1
    line.duration_ns += publish.took_ns
    line.body_bytes += publish.body_bytes
    if line.count == configuration.settings.publish_in_loop_threshold:
        evidence = {"task": publish.task_name, "count": 0, "duration_ms": 0.0, "body_size": 0}
        finding = Finding(TYPE, "", line.fix, site, evidence, refresh=functools.partial(_put_into_words, line))
        span = publish.span.span if publish.span is not None else None
        publish.local.report(finding, (TYPE, publish.task_name, site), span)


def _put_into_words(line: _Line, finding: Finding) -> None:
    took_ms, task = round(line.duration_ns / 1e6, 3), finding.evidence["task"]
    finding.evidence.update(count=line.count, duration_ms=took_ms, body_size=line.body_bytes)
    finding.severity = findings.WARNING if took_ms >= _WARNING_MS else findings.INFORMATION
    cost = f"{took_ms:g} ms and {line.body_bytes} bytes"
    finding.message = f"{task} was sent {line.count} times from one line, one message each: {cost}"


def _fix(publish: Publish) -> str:
    """What to write: with the line's own arguments, or with the names that the task has for them."""
    task, short = publish.task, publish.task_name.rpartition(".")[2]
    positional, named = _names(task, len(publish.args or ())), sorted(publish.kwargs or ())
    queue = publish.options.get("queue")
    options = f"queue={queue!r}" if type(queue) is str else ""
    if task is not None and not named:
        if (written := _written(publish)) is not None:
            short, positional = written
        given = ", ".join(positional) + ("," if len(positional) == 1 else "")
        return (
            f"send many in one message: `rows = []` before the loop, `rows.append(({given}))` in it,"
            f" `{short}.chunks(rows, 100).apply_async({options})` after it; or one task that takes all of them"
        )
    keywords = ", ".join(f"{name}={name}" for name in named)
    if task is None:
        arguments = "".join(f"{each}, " for each in positional)
        made = f"signature({publish.task_name!r}, ({arguments}), dict({keywords}))"
    else:
        made = f"{short}.s({', '.join([*positional, keywords])})"
    return (
        f"send them together: `signatures = []` before the loop, `signatures.append({made})` in it,"
        f" `group(signatures).apply_async({options})` after it; or, in one message, one task that takes all of them"
    )


def _written(publish: Publish) -> tuple[str, list[str]] | None:
    """The task and the arguments as the line has them; None where it is not a plain `task.delay(...)`."""
    call = call_of(publish)
    if call is None or not isinstance(call.func, ast.Attribute) or call.func.attr != "delay" or call.keywords:
        return None
    if len(call.args) != len(publish.args or ()) or any(isinstance(each, ast.Starred) for each in call.args):
        return None
    return ast.unparse(call.func.value), [ast.unparse(each) for each in call.args]


def _names(task: Any, count: int) -> list[str]:
    """The first parameters of a task, as many as are given."""
    try:
        found = [
            each.name
            for each in inspect.signature(task.run).parameters.values()
            if each.kind <= each.POSITIONAL_OR_KEYWORD
        ]
    except (AttributeError, TypeError, ValueError):
        found = []
    return [*found[:count], *(f"value{number}" for number in range(len(found) + 1, count + 1))]


DETECTOR = Detector(
    TYPE,
    doc="A task was sent from one line `publish_in_loop_threshold` times in one request or task, one message each.",
    fix="`task.chunks(rows, 100).apply_async()`, a `group`, or one task that takes all of them.",
    not_found="Groups, chunks, chords and chains, retries, eager calls, what has a countdown or an ETA.",
    on_publish=_on_publish,
    on_sent=_on_sent,
)
