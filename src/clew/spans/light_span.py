"""A span that costs 2 microseconds: the public `Span` interface, and a `ReadableSpan` for whoever wants one.

The SDK's own span costs 15 to 20 microseconds, for locks, bounded containers and a second object at the end. A detail
span lives inside one thread of work and needs none of it until a user's code touches it: then its attributes become
the SDK's own BoundedAttributes, with its limits and its cleaning. Its ids are made when somebody asks for them.
"""

from __future__ import annotations

from time import time_ns
from typing import Any

from opentelemetry.context import Context
from opentelemetry.trace.propagation import _SPAN_KEY
from opentelemetry.trace.status import Status, StatusCode

from clew import attributes as names
from clew.engine.redaction.exception_event import CANCELLED, described, error_description, type_name
from clew.spans import local_spans
from clew.spans.current import attach, detach, get_current
from clew.spans.identity import StaticAttributes
from clew.spans.light_record import UNSET
from clew.spans.written_span import WrittenSpan


class LightSpan(WrittenSpan):
    """A detail span under a recording span of the same process, or a root."""

    __slots__ = ()

    @property
    def span(self) -> LightSpan:
        """The span itself; a `spans.SdkSpan` holds one of the SDK's here."""
        return self

    def end(self, end_time: int | None = None) -> None:
        """End the span and hand it over."""
        if self._is_open():
            self.end_time = end_time if end_time is not None else time_ns()
            self.finish()

    def enter(self, context: Context | None = None) -> None:
        """Make it the current span, in `context` or in what is current."""
        if context is None:
            context = get_current()
        self.token = attach(Context({**context, _SPAN_KEY: self}))

    def rename(self, name: str) -> None:
        """Give it a name that is known to be clean."""
        self.name = name

    def note(self, key: str, value: Any) -> None:
        """Set an attribute whose value is known to be clean."""
        attributes = self.held
        if type(attributes) is dict or self.end_time is None:
            attributes[key] = value

    def share(self, static: StaticAttributes) -> None:
        """Set attributes that are known to be clean, and that other spans have, too."""
        if self.static is None and type(self.held) is dict:
            self.static = static
        else:
            for key, value in static.mapping.items():
                self.note(key, value)

    def add(self, key: str, number: int) -> None:
        """Add to a number noted before, also on a span that waits in its parent to be folded."""
        held = self.held
        held[key] = held.get(key, 0) + number

    def take_finding(self, finding: Any) -> None:
        """Say a finding when the span ends; until then it may grow."""
        self.findings = (*self.findings, finding)

    def fail(self, error: BaseException, at_ns: int | None = None) -> None:
        """Note that the span ends with this error; its event (of now, or `at_ns`) is on the innermost span only."""
        local = local_spans.current()
        if local is not None and local.unexplained:
            local.explain(error)
        if isinstance(error, CANCELLED):
            self.note(names.CLEW_CANCELLED, value=True)
            return
        self.note(names.ERROR_TYPE, type_name(error))
        if id(error) not in (self.error_below, local.error_id if local is not None else 0):
            description, event = described(error)
            if self._is_open():
                self._event("exception", event, at_ns)
        else:
            description = error_description(error)
        if local is not None:
            local.error_id = id(error)
        if self.above is not None:
            self.above.error_below = id(error)
        self.status = Status(StatusCode.ERROR, description)

    def close(self, error: BaseException | None = None) -> None:
        """End the span, and with it its time as the current one."""
        token = self.token
        if token is not None:
            self.token = None
            detach(token)
        if self.end_time is None:
            if error is not None:
                self.fail(error)
            self.end_time = time_ns()
            self.finish()

    def restore(self) -> None:
        """Make the span that was current before `enter` current again."""
        token, self.token = self.token, None
        if token is not None:
            detach(token)

    def discard(self) -> None:
        """End it without a trace. Only where `is_trivial`."""
        self.restore()
        self.end_time = time_ns()
        if self.above is not None:
            self.above.children -= 1
        self.give_back()

    def give_back(self) -> None:
        """It is no span of its own: it does not count against the limit of the trace."""
        self.above = None
        local = local_spans.current()
        if local is not None:
            local.spans_left += 1

    def finish(self) -> None:
        """Hand it over, with what waits in it; it has ended."""
        ended: list[LightSpan] = []
        self._end_with(ended)
        if ended:
            self.pipeline.finish(ended)

    def _end_with(self, ended: list[LightSpan]) -> None:
        above = self.above
        if above is not None:
            if above.children > self.pipeline.max_spans_per_parent and self._is_surplus(above):
                return
            self.parent_id = above.span_id or above.identify()
            self.above = None
        if not self.span_id:
            self.span_id = self.pipeline.new_id()
        if self.folds:
            folds, self.folds = self.folds, None
            for span in folds.values():
                span._say_folded()
                span._end_with(ended)
        if self.findings:
            for finding in self.findings:
                finding.say(self._event, self.held, self.end_time)
            self.findings = ()
        ended.append(self)

    def _is_surplus(self, above: LightSpan) -> bool:
        """Whether its parent has enough of its kind, and nothing but its time would be lost with it."""
        kept: dict[str, int] | None = getattr(above, "_kept", None)
        if kept is None:
            kept = above._kept = {}
        kind, said = self.instrumentation_scope.name, self.events or self.folds or self.is_touched or self.findings
        is_plain = not (self.span_id or self.children or said) and self.status is UNSET
        stands_for_others = self.folded is not None and self.folded.count > 1
        if kept.get(kind, 0) < self.pipeline.max_spans_per_parent or not is_plain or stands_for_others:
            kept[kind] = kept.get(kind, 0) + 1
            return False
        if above.end_time is None:
            above.add(names.CLEW_SPANS_DROPPED_BELOW, 1)
        self.give_back()
        return True

    def finish_folded(self) -> None:
        """The parent has ended, in which it waited for equals of its."""
        self._say_folded()
        self.finish()

    def _say_folded(self) -> None:
        folded = self.folded
        if folded is not None and folded.count > 1:
            if folded.group is not None:
                self.name, self.static = folded.group.name, folded.group.static
            held = self.held  # not by `note`: it has ended, and a provider's limits have made it bounded
            for key, value in folded.attributes().items():
                held[key] = value
            self.end_time = self.start_time + folded.total_ns
