"""`Task.Request` classes of the application's own: what they have instead of Celery's methods tells the fate, too.

Celery documents them (`Task.Request = "shop.workers:Request"`), and their methods need not call the ones they replace.
They are met where the worker makes a class for each task; those that call Celery's methods tell it once.
"""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from clew.engine.wrapper import Around
from clew.seams.celery.fate import request as fate_request
from clew.seams.celery.fate.span import Fate, FateReport

_met: set[tuple[type, str]] = set()


def methods_of(made: type, finds: Mapping[str, fate_request.Find]) -> Iterator[tuple[type, str, Around]]:
    """The methods of one that are not Celery's and have not been met, each with what stands at it.

    Args:
        made: the class the worker has made for a task.
        finds: what opens the fate, by the name of Celery's method.
    """
    celerys = sys.modules["celery.worker.request"].Request
    for owner in made.__mro__:
        if owner is celerys or owner is object:
            continue
        for name, find in finds.items():
            if name in vars(owner) and is_new(owner, name):
                yield owner, name, _standing(inspect.signature(getattr(celerys, name)), find)
        if "revoked" in vars(owner) and is_new(owner, "revoked"):
            yield owner, "revoked", Around(note=_revoked)


def is_new(owner: type, name: str) -> bool:
    """Whether this method is seen for the first time."""
    is_known = (owner, name) in _met
    _met.add((owner, name))
    return not is_known


def reset() -> None:
    """Forget the methods that were seen."""
    _met.clear()


def _standing(signature: inspect.Signature, find: fate_request.Find) -> Around:
    """As Celery calls it: the application's may name its parameters as it likes."""
    wanted: Callable[..., Any] = find
    names = list(inspect.signature(wanted).parameters)[1:]

    def entered(positional: tuple[Any, ...], keywords: dict[str, Any]) -> FateReport | None:
        given = signature.bind(*positional, **keywords)
        given.apply_defaults()
        report = find(positional[0], **{name: given.arguments[name] for name in names})
        return report.enter() if report is not None else None

    return Around(entered)


def _revoked(positional: tuple[Any, ...], result: Any) -> None:
    """It is not run because its class says so, without Celery's being told."""
    request = positional[0]
    if result and not request._already_revoked:
        fate_request.report_fate(request, Fate("revoked", f"revoked by {type(request).__mro__[1].__qualname__}"))
