"""The span of a fate: from what the worker's main process holds of a task to one ended CONSUMER span.

Named and parented as the run span it stands for; its times are those the main process knows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from opentelemetry import propagate
from opentelemetry.context import Context
from opentelemetry.propagators.textmap import Getter
from opentelemetry.trace import (
    INVALID_SPAN,
    Link,
    SpanKind,
    Status,
    StatusCode,
    format_span_id,
    format_trace_id,
    get_current_span,
    set_span_in_context,
)

from clew import attributes as names
from clew.core import configuration, spans
from clew.core.exception_event import message_of, type_name
from clew.seams.celery import contrib
from clew.seams.celery.messaging import Attributes, run_attributes

SCOPE = "clew.seams.celery.fate"
_LINK = {names.CLEW_LINK_KIND: "publish"}
_MAX_REASON = 500
_NOT_REGISTERED = "celery.exceptions.NotRegistered"


@dataclass(frozen=True)
class Kind:
    """One value of `celery.outcome`.

    Args:
        verb: of the span's name.
        state: Celery's, as `celery.state` says it; None where Celery stores none.
        is_error: False where somebody has asked for it.
    """

    verb: str
    state: str | None = None
    is_error: bool = False


KINDS = {
    "timed_out": Kind("lost", "FAILURE", is_error=True),
    "lost": Kind("lost", "FAILURE", is_error=True),
    "cancelled": Kind("lost", "RETRY"),
    "terminated": Kind("revoked", "REVOKED"),
    "revoked": Kind("revoked", "REVOKED"),
    "expired": Kind("expired", "REVOKED"),
    "unknown": Kind("unknown", "FAILURE", is_error=True),
    "rejected": Kind("rejected", is_error=True),
    "undecodable": Kind("rejected", is_error=True),
}


@dataclass
class Fate:
    """What became of a task.

    Args:
        outcome: a key of `KINDS`.
        reason: in one sentence.
        error: what Celery made of it.
        started: when the child accepted the task, in seconds since the epoch; None: it did not start.
        more: further attributes.
    """

    outcome: str
    reason: str
    error: BaseException | None = None
    started: float | None = None
    more: Attributes = field(default_factory=dict)


class Unregistered:
    """Stands for a task this worker does not have, or whose name a message does not say."""

    run = None

    def __init__(self, name: str, app: Any) -> None:
        self.name, self.app = name, app


class _HeaderGetter(Getter[Any]):
    """Reads a header from Celery's context of a request, where it is an attribute or, by protocol 1, kept apart."""

    def get(self, carrier: Any, key: str) -> list[str] | None:
        value = vars(carrier).get(key)
        if value is None:
            value = self._apart(carrier).get(key)
        if value is None:
            return None
        return [str(each) for each in value] if isinstance(value, (list, tuple)) else [str(value)]

    def keys(self, carrier: Any) -> list[str]:
        return [*vars(carrier), *self._apart(carrier)]

    @staticmethod
    def _apart(carrier: Any) -> Mapping[str, Any]:
        headers = carrier.headers
        return headers if isinstance(headers, Mapping) else {}


_getter = _HeaderGetter()


def tell(task: Any, request: Any, fate: Fate) -> None:
    """Open and end the span of a task's fate.

    Args:
        task: the task, or `Unregistered`.
        request: Celery's `Context` of it.
        fate: what became of it.
    """
    pipeline = spans.pipeline()
    if pipeline is None or spans.is_suppressed():
        return
    kind = KINDS[fate.outcome]
    attributes = _attributes(task, request, fate, kind)
    context, links = _origin(request, attributes)
    start_ns = None if fate.started is None else int(fate.started * 1e9)
    name = f"{kind.verb}/{task.name}"
    root = spans.start_root(pipeline, SCOPE, name, SpanKind.CONSUMER, context, attributes, links, start_ns)
    if root is None:
        return
    if kind.is_error:
        root.span.set_status(Status(StatusCode.ERROR, fate.reason))
    root.close()


def _attributes(task: Any, request: Any, fate: Fate, kind: Kind) -> Attributes:
    found = run_attributes(task, request)
    if isinstance(task, Unregistered):
        for key in (names.CODE_FUNCTION_NAME, names.CODE_FILE_PATH, names.CODE_LINE_NUMBER):
            found.pop(key, None)
    found[names.CELERY_ACTION] = found[names.MESSAGING_OPERATION_NAME] = kind.verb
    found[names.CELERY_OUTCOME] = fate.outcome
    found[names.CELERY_FATE_REASON] = fate.reason
    if kind.state is not None:
        found[names.CELERY_STATE] = kind.state
    if kind.is_error:
        found[names.ERROR_TYPE] = _NOT_REGISTERED if fate.outcome == "unknown" else _error_type(fate)
    found.update(fate.more)
    return found


def _error_type(fate: Fate) -> str:
    return fate.outcome if fate.error is None else type_name(fate.error)


def _origin(request: Any, attributes: Attributes) -> tuple[Context, tuple[Link, ...]]:
    """Context and link to the publish span, by the rules of the run span; notes the link's target."""
    context = propagate.extract(request, Context(), _getter)
    published = get_current_span(context).get_span_context()
    if not published.is_valid:
        return context, ()
    attributes[names.CELERY_LINKED_TRACE_ID] = format_trace_id(published.trace_id)
    attributes[names.CELERY_LINKED_SPAN_ID] = format_span_id(published.span_id)
    if configuration.settings.task_parent == "link" or contrib.State.use_span_links:
        context = set_span_in_context(INVALID_SPAN, context)
    return context, (Link(published, _LINK),)


def sentence(error: BaseException | None, otherwise: str) -> str:
    """An error's message, redacted, on one line of bounded length."""
    text = " ".join(message_of(error).split()) if error is not None else ""
    return (text or otherwise)[:_MAX_REASON]
