"""No span of its own: a worker of the gevent pool runs under `opentelemetry-instrument`.

Instrumentors import Celery and kombu before Celery has gevent replace the standard library's parts; what the two have
taken from it by name stays the real thing. A worker would poll Redis with the real `epoll` and sleep the real `sleep`,
which stop every greenlet (upstream alone stands still so, too). We stand at `gevent.monkey.patch_all` and give them the
names they would have found.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from typing import Any

from clew.engine.needs import functions
from clew.engine.seam import Patch, Seam
from clew.engine.wrapper import Around

_IMPORTED_EARLY = ("amqp", "celery", "clew", "kombu", "vine")
_EVENTIO, _COMPAT = "kombu.utils.eventio", "kombu.utils.compat"


def _mend(error: BaseException | None) -> None:
    replaced = dict(_replaced())
    for name, module in list(sys.modules.items()):
        if name.partition(".")[0] in _IMPORTED_EARLY:
            _rebind(vars(module), replaced)
    if _EVENTIO in sys.modules:
        importlib.reload(sys.modules[_EVENTIO])  # it chooses among select's functions
    compat: Any = sys.modules.get(_COMPAT)
    if compat is not None:
        compat._environment = None  # "default"; it looks again


def _replaced() -> Iterator[tuple[int, Any]]:
    """By the id of the original: what gevent has put in its place."""
    for name, originals in sys.modules["gevent.monkey"].saved.items():
        module = sys.modules.get(name)
        for attribute, original in originals.items():
            if callable(original) and hasattr(module, attribute):
                yield id(original), getattr(module, attribute)


def _rebind(namespace: dict[str, Any], replaced: dict[int, Any]) -> None:
    for name, value in list(namespace.items()):
        if id(value) in replaced:
            namespace[name] = replaced[id(value)]


SEAM = Seam(
    "celery.green",
    (Patch("gevent.monkey", "patch_all", Around(note=_mend)),),
    needs=(*functions("gevent.monkey", "saved"), *functions(_COMPAT, "_environment")),
)
