"""A real worker in a thread of the test's process, over kombu's memory transport: what tests of one run need."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry.sdk.trace import ReadableSpan

from tests.shared import until


def runs_of(spans: Iterable[ReadableSpan], name: str) -> list[ReadableSpan]:
    """The runs of a task, in the order of their starts."""
    found = [span for span in spans if span.name == f"run/{name}"]
    return sorted(found, key=lambda span: span.start_time or 0)


def ran(trace: Any, publish: Callable[[], object], name: str, count: int = 1) -> list[ReadableSpan]:
    """Publish, wait for the runs of `name` to end, and give their spans."""
    publish()
    until(lambda: len(runs_of(trace.spans, name)) >= count)
    return runs_of(trace.spans, name)


def links(span: Any) -> list[tuple[str, int]]:
    """Kind and span of every link."""
    return [(link.attributes["clew.link"], link.context.span_id) for link in span.links]
