"""What the detectors' tests have in common."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.sampling import ALWAYS_OFF

import clew
from clew.cli.view.receiver import SpanRecord
from clew.story.findings import Finding, listeners
from clew.testing import Trace


def found(trace: Trace, kind: str) -> list[Finding]:
    """The findings of one type, put into words."""
    findings = [finding for finding in trace.findings if finding.type == kind]
    for finding in findings:
        finding.attributes()
    return findings


def said_on(trace: Trace, name: str) -> list[str]:
    """Types of the findings on the span of that name."""
    events = [event.attributes or {} for event in trace.named(name).events if event.name.startswith("clew.finding.")]
    return [str(each["clew.finding.type"]) for each in events]


def said_by(run: SpanRecord, kind: str) -> list[dict[str, Any]]:
    """The findings of one type on a span that a worker has sent, by their attributes."""
    return [held for name, _, held in run.events if name == f"clew.finding.{kind}"]


def unsampled(function: Callable[[], Any]) -> list[Finding]:
    """What is found in a request that is not recorded."""
    findings: list[Finding] = []
    listeners.append(findings.extend)
    handle = clew.setup_tracing(tracer_provider=TracerProvider(sampler=ALWAYS_OFF))
    try:
        function()
    finally:
        handle.shutdown()
        listeners.remove(findings.extend)
    return findings
