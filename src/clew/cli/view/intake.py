"""What the receiver does with a request, by whichever protocol it came."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)

from clew.cli.terminal import Terminal
from clew.cli.view.span_record import SpanRecord, from_otlp

OnSpans = Callable[[list[SpanRecord]], None]

_PROBLEM_SECONDS = 5.0


class Intake:
    """Where both protocols hand in: one callback at a time, problems said now and then, not always.

    Args:
        on_spans: gets the spans of one request.
        on_problem: gets one line.
        limit: bytes a request may have, decompressed too.
    """

    def __init__(self, on_spans: OnSpans, on_problem: Callable[[str], None], limit: int) -> None:
        self.limit = limit
        self._on_spans, self._on_problem = on_spans, on_problem
        self._lock, self._problem_lock = threading.Lock(), threading.Lock()
        self._silent_until, self._unsaid = 0.0, 0

    def take(self, request: ExportTraceServiceRequest) -> ExportTraceServiceResponse:
        """Hand the request's spans on; spans without valid ids are refused in the answer."""
        records = from_otlp(request.resource_spans)
        sent = sum(len(scope.spans) for group in request.resource_spans for scope in group.scope_spans)
        # gRPC and HTTP have threads of their own, and callbacks should not need a lock.
        if records:
            with self._lock:
                self._on_spans(records)
        answer = ExportTraceServiceResponse()
        if refused := sent - len(records):
            answer.partial_success.rejected_spans = refused
            answer.partial_success.error_message = "spans need a trace id of 16 bytes and a span id of 8"
            self.problem(f"refused {refused} spans without a valid trace or span id")
        return answer

    def problem(self, line: str) -> None:
        """Say what went wrong, at most once in five seconds; the others are counted."""
        with self._problem_lock:
            if time.monotonic() < self._silent_until:
                self._unsaid += 1
                return
            self._silent_until = time.monotonic() + _PROBLEM_SECONDS
            more, self._unsaid = (f" (and {self._unsaid} more like it)" if self._unsaid else ""), 0
        self._on_problem(Terminal().clean(line) + more)
