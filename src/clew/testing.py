"""Capturing spans in tests: the pytest plugin's `trace`, usable from any other test runner too."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Any

from opentelemetry import trace as trace_api
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from clew import attributes as names
from clew.bootstrap import active, setup_tracing
from clew.export.provider import take_out
from clew.settings import PREFIX
from clew.story.findings import Finding, listeners


class Trace:
    """What was captured.

    Args:
        exporter: the in-memory exporter the spans arrive at.
    """

    def __init__(self, exporter: InMemorySpanExporter) -> None:
        self._exporter = exporter
        self._findings: list[Finding] = []

    @property
    def spans(self) -> tuple[ReadableSpan, ...]:
        """The ended spans, in the order of their ends."""
        return self._exporter.get_finished_spans()

    def clear(self) -> None:
        """Forget what was captured so far."""
        self._exporter.clear()
        self._findings.clear()

    @property
    def findings(self) -> list[Finding]:
        """What clew found in the requests and tasks that have ended."""
        return list(self._findings)

    def assert_no_findings(self, *allowed: str) -> None:
        """Fail if anything is wrong, but for these types.

        Raises:
            AssertionError: something was found; says what, where, and how to mend it.
        """
        found = [finding for finding in self._findings if finding.type not in allowed]
        assert not found, "\n".join(["clew found:", *map(_said, found)])

    def named(self, name: str) -> ReadableSpan:
        """The only span of that name.

        Raises:
            AssertionError: there is none, or more than one.
        """
        found = [span for span in self.spans if span.name == name]
        assert len(found) == 1, f"{len(found)} spans named {name!r} in\n{self.tree()}"
        return found[0]

    def tree(self, *attributes: str) -> str:
        """The spans as an indented tree: kind (unless INTERNAL), name, ERROR, and the attributes asked for."""
        return "\n".join(tree_lines(self.spans, attributes))


def _said(finding: Finding) -> str:
    said = finding.attributes()
    where = f" ({finding.site})" if finding.site is not None else ""
    return f"- {finding.type}: {said[names.CLEW_FINDING_MESSAGE]}{where}\n  {said[names.CLEW_FINDING_FIX]}"


def tree_lines(spans: tuple[ReadableSpan, ...] | list[ReadableSpan], attributes: tuple[str, ...] = ()) -> list[str]:
    """One line for each span, indented below its parent; siblings in the order of their starts."""
    here = {span.context.span_id for span in spans if span.context}
    children: dict[int, list[ReadableSpan]] = {}
    for span in spans:
        parent = span.parent.span_id if span.parent and span.parent.span_id in here else 0
        children.setdefault(parent, []).append(span)
    lines: list[str] = []

    def walk(parent: int, depth: int) -> None:
        for span in sorted(children.get(parent, []), key=lambda each: each.start_time or 0):
            lines.append("  " * depth + _line(span, attributes))
            assert span.context is not None
            walk(span.context.span_id, depth + 1)

    walk(0, 0)
    return lines


def _line(span: ReadableSpan, attributes: tuple[str, ...]) -> str:
    parts = [] if span.kind is trace_api.SpanKind.INTERNAL else [span.kind.name]
    parts.append(span.name)
    if span.status.status_code is trace_api.StatusCode.ERROR:
        parts.append("ERROR")
    held: Any = span.attributes or {}
    parts += [f"{name.rpartition('.')[2]}={held[name]}" for name in attributes if name in held]
    return " ".join(parts)


# What becomes a span, or a finding, because it took long would be another tree on a busy machine.
_NEVER = 10**12
_STEADY = {
    "middleware_threshold_us": _NEVER,
    "resolve_threshold_ms": _NEVER,
    "block_threshold_ms": _NEVER,
    "receiver_threshold_ms": _NEVER,
    "async_wait_threshold_ms": _NEVER,
    "template_load_threshold_ms": _NEVER,
    "slow_query_threshold_ms": 0,
    "thread_wait_threshold_ms": 0,
    "blocking_on_loop_threshold_ms": 0,
}


@contextlib.contextmanager
def tracing(**settings: Any) -> Iterator[Trace]:
    """Trace what runs inside, into memory, and nowhere else.

    Everything is sampled, nothing is exported, and no tree depends on how long something took, unless `settings` or the
    environment say so. Where tracing is set up already (a `setup_tracing()` in settings.py), it gets its own settings
    back at the end; otherwise it is set up, and undone.
    """
    steady = {name: value for name, value in _STEADY.items() if f"{PREFIX}{name.upper()}" not in os.environ}
    exporter = InMemorySpanExporter()
    processor = SimpleSpanProcessor(exporter)
    trace = Trace(exporter)
    with _provider({**steady, **settings}) as provider:
        provider.add_span_processor(processor)
        listeners.append(trace._findings.extend)
        try:
            yield trace
        finally:
            listeners.remove(trace._findings.extend)
            take_out(provider, [processor])


@contextlib.contextmanager
def _provider(settings: dict[str, Any]) -> Iterator[TracerProvider]:
    handle = active()
    if handle is not None and handle.provider is not None:
        with handle.lent_to_test(settings) as provider:
            yield provider
        return
    if handle is not None:
        handle.shutdown()  # it was switched off; there is nothing to give back
    ours = setup_tracing(tracer_provider=_global_provider(), **settings)
    try:
        assert ours.provider is not None
        yield ours.provider
    finally:
        ours.shutdown()


def _global_provider() -> TracerProvider:
    """The application's own spans are captured too, so its tracers must lead to the provider that is used."""
    found = trace_api.get_tracer_provider()
    if isinstance(found, TracerProvider):
        return found
    made = TracerProvider()
    trace_api.set_tracer_provider(made)
    return made
