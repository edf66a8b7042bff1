"""A finding: what is wrong, in one sentence, where, with what evidence, and how to mend it.

Detectors (`story/detector.py`) make findings; this file keeps them with the request or task they belong to, and says
each in four places: as an event and a line on the span where it happened, as attributes of the local root, as a
metric, and to tests. What a finding says may grow until its span ends (5 queries have become 50), so it is put into
words only then.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Hashable, Iterable, MutableMapping
from dataclasses import dataclass, field
from time import time_ns
from typing import TYPE_CHECKING, Any, NamedTuple

from clew import attributes as names
from clew.engine import configuration
from clew.engine.metric import COUNTER, Metric
from clew.engine.redaction import CleanAttributes
from clew.spans.light_span import LightSpan

if TYPE_CHECKING:
    from clew.source.call_site import CallSite
    from clew.spans.scope import OpenSpan

MAX_FINDINGS = 100
MAX_LINES = 20
WARNING, INFORMATION = "warning", "information"


class LoopAround(NamedTuple):
    """A loop: where it begins, and whether it goes through objects of a model."""

    at: CallSite
    is_of_objects: bool = False


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
        loops: those around it, innermost first (see story/one_loop.py).
    """

    type: str
    message: str
    fix: str
    site: CallSite | None = None
    evidence: dict[str, Any] = field(default_factory=dict)
    severity: str = WARNING
    refresh: Callable[[Finding], None] | None = None
    loops: tuple[LoopAround, ...] = ()
    time_ns: int = field(default_factory=time_ns)
    # The span it is about, and whether that one says it; else the root does.
    span: Any = None
    is_placed: bool = False

    def attributes(self) -> CleanAttributes:
        """Attributes of its event."""
        if self.refresh is not None:
            self.refresh(self)
        said = {
            names.CLEW_FINDING_MESSAGE: self.message,
            names.CLEW_FINDING_TYPE: self.type,
            names.CLEW_FINDING_FIX: self.fix,
            names.CLEW_FINDING_SEVERITY: self.severity,
        }
        found = CleanAttributes(said)
        if self.site is not None:
            found.update(self.site.attributes())
        for key, value in self.evidence.items():
            found[f"clew.finding.{key}"] = value
        return found

    def line(self) -> str:
        """What, how often, where, and how to mend it; as `attributes` has put it into words."""
        where = f" At {self.site.short}." if self.site is not None else ""
        return f"{self.type}: {self.message.rstrip('.')}.{where} Fix: {self.fix.rstrip('.')}."

    def say(self, add_event: Callable[..., Any], held: MutableMapping[str, Any], end_ns: int | None = None) -> None:
        """Put the finding on its span: an event, a line of `clew.warnings`, and an attribute to search for.

        Args:
            add_event: the span's.
            held: the span's attributes.
            end_ns: when the span has ended, before the finding it may be: viewers draw no event outside its span.
        """
        add_event(names.finding(self.type), self.attributes(), min(self.time_ns, end_ns or self.time_ns))
        held[names.finding(self.type)] = True
        lines, line = held.get(names.CLEW_WARNINGS, ()), self.line()
        if line not in lines:  # the root has said it among all the others
            held.update(_warnings((*lines, line)))

    def span_id(self) -> str:
        """Id of the span it is about, "" where there is none."""
        span = self.span
        context = span.context if type(span) is LightSpan else span and span.get_span_context()
        return format(context.span_id, "016x") if context else ""


class Findings:
    """The findings of one request or task."""

    __slots__ = ("_by_key", "dropped")

    def __init__(self) -> None:
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


def finish(found: list[Finding], root: OpenSpan | None, where: dict[str, str], exemplar: Any) -> None:
    """Say on the root, if it is recorded, and in the metric, what was found."""
    counts = Counter(finding.type for finding in found)
    if root is not None:
        for finding in found:
            said = finding.attributes()
            if not finding.is_placed:
                finding.is_placed = True
                root.span.add_event(names.finding(finding.type), said, finding.time_ns)
        for name, value in _summary(found, counts, root.span).items():
            root.note(name, value)
    for kind, count in counts.items():
        _COUNTED.record(count, {names.CLEW_FINDING_TYPE: kind, **where}, exemplar)
    for listen in list(listeners):
        listen(list(found))


def _summary(findings: list[Finding], counts: Counter[str], root: Any) -> dict[str, Any]:
    found: dict[str, Any] = {names.CLEW_FINDINGS: tuple(sorted(counts)), names.CLEW_FINDING_ANY: True}
    for kind, count in counts.items():
        found[names.finding(kind)] = True
        found[names.finding_count(kind)] = count
    ordered = sorted(findings, key=lambda finding: finding.severity != WARNING)
    lines = [_line(finding, root) for finding in ordered[:MAX_LINES]]
    if len(ordered) > MAX_LINES:
        lines.append(f"{len(ordered) - MAX_LINES} more findings, each on its span.")
    return {**found, **_warnings(lines)}


def _line(finding: Finding, root: Any) -> str:
    is_elsewhere = finding.span is not None and finding.span is not root
    return f"{finding.line()} Span {finding.span_id()}." if is_elsewhere else finding.line()


def _warnings(lines: Iterable[str]) -> dict[str, tuple[str, ...]]:
    held = tuple(lines)
    found = {names.CLEW_WARNINGS: held}
    if configuration.settings.jaeger_warnings:
        found[names.JAEGER_WARNINGS] = held
    return found


# For tests: told the findings of every request and task that ends.
listeners: list[Callable[[list[Finding]], None]] = []
_COUNTED = Metric(
    *("clew.detectors", names.CLEW_FINDINGS, COUNTER, "{finding}", "What clew found to be wrong, by type."),
    names.HTTP_ROUTE,
    names.CELERY_TASK_NAME,
)


def attach(span: Any, finding: Finding) -> None:
    """Say a finding on a span: on a light one when it ends, on the SDK's at once.

    One that may still grow is only marked on the SDK's (a driver's), and said on the root, with its final numbers.
    """
    span = finding.span = getattr(span, "span", span)  # of `spans.SdkSpan`, the SDK's
    if type(span) is LightSpan:
        span.take_finding(finding)
        finding.is_placed = True
    elif span.is_recording() and finding.refresh is None:
        held: dict[str, Any] = {}
        finding.say(span.add_event, held)
        span.set_attributes(held)
        finding.is_placed = True
    elif span.is_recording():
        span.set_attribute(names.finding(finding.type), value=True)
