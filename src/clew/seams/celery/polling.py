"""No span of its own: it keeps a driver's spans of kombu's own traffic with Redis from being traces of their own.

A worker asks its broker for messages all day, acknowledges, restores, and talks to other workers; with
`opentelemetry-instrumentation-redis` each of these commands is a root span (docs/upstream.md, celery 11). We stand at
`Channel._create_client`, where every client of the transport comes from: its class is exchanged for a subclass whose
commands suppress instrumentation while no span records. What runs below a span keeps the driver's span there: a publish
below its PRODUCER span. The application's own clients, and those of the result backend, are others.

There is nothing to do for AMQP: kombu speaks it by py-amqp or librabbitmq, which nobody instruments.
"""

from __future__ import annotations

import functools
import sys
from typing import Any

from opentelemetry.context import attach, detach, set_value
from opentelemetry.trace import get_current_span

from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around
from clew.engine.wrapper_steps import invisible
from clew.spans.current import SUPPRESS

_INSTRUMENTATION = "opentelemetry.instrumentation.redis"
_COMMANDS = ("execute_command", "immediate_execute_command", "execute")
_MAX_CLASSES = 100
_quiet: dict[type, type] = {}


def quieten(client: Any) -> Any:
    """Exchange the class of a client or pipeline."""
    client.__class__ = _quiet.get(type(client)) or _quiet_class(type(client))
    return client


def _quiet_class(own: type) -> type:
    if "_is_quiet" in vars(own):
        return own
    commands = [name for name in _COMMANDS if hasattr(own, name)]
    held: dict[str, Any] = {name: _QUIET(_forwarded(own, name)) for name in commands}
    if hasattr(own, "pipeline"):
        held["pipeline"] = _PIPELINE(_forwarded(own, "pipeline"))
    # Named as the original: nobody who prints a client shall wonder.
    held |= {"__module__": own.__module__, "__qualname__": own.__qualname__, "__doc__": own.__doc__}
    made = type(own.__name__, (own,), {**held, "__slots__": (), "_is_quiet": True})
    if len(_quiet) < _MAX_CLASSES:
        _quiet[own] = made
    return made


def _begin() -> Any:
    return attach(set_value(SUPPRESS, True)) if SEAM.is_installed and not get_current_span().is_recording() else None


_QUIET = Around(_begin, close=lambda opened: detach(opened))
_PIPELINE = Around(replace=lambda result: quieten(result))


def _forwarded(own: Any, name: str) -> Any:
    @functools.wraps(getattr(own, name))
    @invisible
    def command(client: Any, *args: Any, **options: Any) -> Any:
        __traceback_hide__ = True
        # Looked up again each time: an instrumentation may come after us.
        return getattr(own, name)(client, *args, **options)

    return command


def _created(result: Any) -> Any:
    # kombu makes two of them for each task.
    return quieten(result) if _INSTRUMENTATION in sys.modules else result


SEAM = Seam(
    "celery.polling",
    patches=(Patch("kombu.transport.redis", "Channel._create_client", Around(replace=_created)),),
    on_uninstall=_quiet.clear,
)
