"""The current OpenTelemetry context, without the API's two calls around its ContextVar.

Where the site has chosen another kind of context (`OTEL_PYTHON_CONTEXT`), or the API keeps its variable elsewhere, the
API's own functions are used.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar, Token
from typing import Any, Final

from opentelemetry import context as api
from opentelemetry.context import Context

from clew.engine import needs

# Only faster with them.
needs.declare(
    __name__,
    needs.Need("opentelemetry.context", "_RUNTIME_CONTEXT"),
    *needs.attributes("opentelemetry.context.contextvars_context", "ContextVarsRuntimeContext", "_current_context"),
    consequence="a span costs a little more",
)

# While this is set in the context, nothing is recorded: the exporter's own work.
SUPPRESS: Final = "suppress_instrumentation"

_variable: Any = getattr(getattr(api, "_RUNTIME_CONTEXT", None), "_current_context", None)


def _reset(token: Token[Context]) -> None:
    try:
        _variable.reset(token)
    except ValueError:  # entered in another context: there is nothing to restore in this one
        pass


get_current: Callable[[], Context] = api.get_current
attach: Callable[[Context], Token[Context]] = api.attach
detach: Callable[[Token[Context]], None] = api.detach
# As `detach`, with a ValueError where the token is of another context.
reset: Callable[[Token[Context]], None] = api.detach
if isinstance(_variable, ContextVar):
    get_current, attach, detach, reset = _variable.get, _variable.set, _reset, _variable.reset
