"""A finding: what is wrong, in one sentence, where, with what evidence, and how to mend it.

Detectors (`story/detector.py`) make findings; this file keeps them with the request or task they belong to, and says
each in four places: as an event `clew.finding` on the span where it happened, as attributes of the local root, as a
metric, and to tests. What a finding says may grow until its span ends (5 queries have become 50), so it is put into
words only then.
"""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from time import time_ns
from typing import TYPE_CHECKING, Any

from opentelemetry import metrics

from clew import attributes as names
from clew.spans.light_span import LightSpan
from clew.version import VERSION

if TYPE_CHECKING:
    from clew.source.call_site import CallSite
    from clew.story.local_trace import LocalTrace

MAX_FINDINGS = 100
WARNING, INFORMATION = "warning", "information"


@dataclass(eq=False)
class Finding:
    """One thing that is wrong.

    Args:
        type: the detector's name, that of its file.
        message: one plain sentence.
        fix: what to do, in the user's terms.
        site: the line it is about.
        evidence: counts and times, names below `clew.finding.`.
        severity: "warning" or "information".
        refresh: called with the finding right before it is put into words; may change all of the above.
    """

    type: str
    message: str
    fix: str
    site: CallSite | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    severity: str = WARNING
    refresh: Callable[[Finding], None] | None = None
    time_ns: int = field(default_factory=time_ns)
    # Whether a span has it; else the root says it.
    is_placed: bool = False

    def attributes(self) -> dict[str, Any]:
        """Attributes of its event."""
        if self.refresh is not None:
            self.refresh(self)
        found: dict[str, Any] = {
            names.CLEW_FINDING_TYPE: self.type,
            names.CLEW_FINDING_MESSAGE: self.message,
            names.CLEW_FINDING_FIX: self.fix,
            names.CLEW_FINDING_SEVERITY: self.severity,
        }
        if self.site is not None:
            found.update(self.site.attributes())
        for key, value in self.evidence.items():
            found[f"clew.finding.{key}"] = value
        return found


class Findings:
    """The findings of one request or task.

    Args:
        local: the request or task.
    """

    __slots__ = ("_by_key", "dropped", "local")

    def __init__(self, local: LocalTrace) -> None:
        self.local = local
        self._by_key: dict[Hashable, Finding] = {}
        self.dropped = 0

    def __iter__(self) -> Any:
        return iter(list(self._by_key.values()))

    def __len__(self) -> int:
        return len(self._by_key)

    @property
    def last(self) -> Finding:
        """The newest; there is one."""
        return next(reversed(self._by_key.values()))

    def get(self, key: Hashable) -> Finding | None:
        """The finding of that key, if there is one."""
        return self._by_key.get(key)

    def add(self, finding: Finding, key: Hashable) -> bool:
        """Take a finding, once for each key. False: there is one already, or there are too many."""
        if key in self._by_key:
            return False
        if len(self._by_key) >= MAX_FINDINGS:
            self.dropped += 1
            return False
        self._by_key[key] = finding
        return True

    def finish(self) -> None:
        """Say on the root, and in the metric, what was found."""
        local = self.local
        counts = Counter(finding.type for finding in self)
        if local.is_recording:
            for finding in self:
                if not finding.is_placed:
                    finding.is_placed = True
                    local.root.span.add_event(names.CLEW_FINDING, finding.attributes(), finding.time_ns)
            local.root.note(names.CLEW_FINDINGS, tuple(sorted(counts)))
            for kind, count in counts.items():
                local.root.note(names.finding_count(kind), count)
        for kind, count in counts.items():
            _counter().add(count, {names.CLEW_FINDING_TYPE: kind, **local.where})
        for listen in list(listeners):
            listen(list(self))


# For tests: told the findings of every request and task that ends.
listeners: list[Callable[[list[Finding]], None]] = []
_lock = threading.Lock()
_made: list[Any] = []


def _counter() -> Any:
    if not _made:
        with _lock:
            if not _made:
                meter = metrics.get_meter("clew.detectors", VERSION)
                _made.append(meter.create_counter(names.CLEW_FINDINGS, "{finding}", "what clew found to be wrong"))
    return _made[0]


def report(local: LocalTrace, finding: Finding, key: Hashable, span: Any = None) -> bool:
    """Take a finding of a request or task.

    Args:
        local: the request or task.
        finding: what is wrong.
        key: one finding for each.
        span: an open span (light or the SDK's) to say it on; None: the caller places it, or the root says it.

    Returns:
        Whether it is new.
    """
    if not local.of_findings().add(finding, key):
        return False
    if span is not None:
        attach(span, finding)
    return True


def attach(span: Any, finding: Finding) -> None:
    """Say a finding on a span: on a light one when it ends, on the SDK's at once.

    One that may still grow is not said on the SDK's (a driver's), but on the root, with its final numbers.
    """
    if type(span) is LightSpan:
        span.take_finding(finding)
        finding.is_placed = True
    elif span.is_recording() and finding.refresh is None:
        span.add_event(names.CLEW_FINDING, finding.attributes(), finding.time_ns)
        finding.is_placed = True
