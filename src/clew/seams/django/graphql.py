"""No span: on a GraphQL view's span, the operation it ran, and the exceptions of its resolvers.

We stand where graphql-core runs an operation and makes its result, below graphene, strawberry and ariadne alike. The
answer is 200 whatever a resolver has raised, so the view is where it is told. A `GraphQLError` that a resolver raises
is an answer.
"""

from __future__ import annotations

from typing import Any

from opentelemetry.trace import Status, StatusCode, get_current_span

from clew import attributes as names
from clew.engine.http_answer import is_answer
from clew.engine.redaction.exception_event import error_description, exception_attributes, type_name
from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around
from clew.source.call_site import raised_at
from clew.spans.light_span import LightSpan
from clew.story import local_trace

_VIEW = "clew.seams.django.view"
_MAX_ERRORS, _MAX_NAME = 20, 100


def _view_span() -> Any:
    """The span of the view around the current one; the current one where that is not clew's."""
    local = local_trace.current()
    if local is None or not local.is_recording:
        return None
    span: Any = get_current_span()
    each: Any = span
    while type(each) is LightSpan:
        if each.instrumentation_scope.name == _VIEW:
            return each
        each = each.above
    return span


def _note_operation(operation: Any) -> None:
    span = _view_span()
    if span is None:
        return
    span.set_attribute(names.GRAPHQL_OPERATION_TYPE, str(operation.operation.value))
    if operation.name is not None:
        span.set_attribute(names.GRAPHQL_OPERATION_NAME, str(operation.name.value)[:_MAX_NAME])


def _note_errors(result: Any) -> None:
    errors: Any = getattr(result, "errors", None)
    span = _view_span() if errors else None
    if span is None:
        return
    for each in errors[:_MAX_ERRORS]:
        error = each.original_error
        if error is not None and not type(error).__module__.startswith("graphql.") and not is_answer(error):
            _add_exception(span, error, each.path)


def _add_exception(span: Any, error: Exception, path: Any) -> None:
    said = exception_attributes(error)
    site = raised_at(error.__traceback__)
    if site is not None:
        said.update(site.attributes())
    if path:
        said[names.GRAPHQL_PATH] = ".".join(map(str, path))
    span.add_event("exception", said)
    span.set_attribute(names.ERROR_TYPE, type_name(error))
    span.set_status(Status(StatusCode.ERROR, error_description(error)))


_EXECUTE = "graphql.execution.execute"
SEAM = Seam(
    "django.graphql",
    patches=(
        Patch(_EXECUTE, "ExecutionContext.execute_operation", Around(_note_operation, close=lambda: None), until="3.3"),
        Patch(_EXECUTE, "ExecutionContext.build_response", Around(note=_note_errors), until="3.3"),
    ),
)
