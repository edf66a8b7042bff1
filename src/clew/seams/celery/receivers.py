"""Receivers of Celery's signals, connected when Celery is imported; none of their errors reaches Celery's log."""

from __future__ import annotations

import sys
from collections.abc import Callable
from typing import Any

from clew.engine import isolation
from clew.engine.seam import Patch

MODULE = "celery.signals"


class Receivers:
    """The receivers of one seam.

    Args:
        where: the seam's module, for the report of an error.
        functions: receiver for each signal's name.
    """

    def __init__(self, where: str, **functions: Callable[..., None]) -> None:
        self._guarded = {name: _guarded(function, where) for name, function in functions.items()}

    @property
    def patches(self) -> tuple[Patch, ...]:
        """Places of the seam: each connects its receiver and leaves the signal itself as it is."""
        return tuple(Patch(MODULE, name, self._connecting(guarded)) for name, guarded in self._guarded.items())

    def disconnect(self) -> None:
        """Disconnect them all."""
        signals = sys.modules.get(MODULE)
        if signals is not None:
            for name, guarded in self._guarded.items():
                getattr(signals, name).disconnect(guarded)

    @staticmethod
    def _connecting(guarded: Callable[..., None]) -> Callable[[Any], Any]:
        def connect(signal: Any) -> Any:
            signal.connect(guarded, weak=False)
            return signal

        return connect


def _guarded(function: Callable[..., None], where: str) -> Callable[..., None]:
    def receiver(**named: Any) -> None:
        try:
            function(**named)
        except Exception as ours:  # noqa: BLE001 - ours must not reach the application
            isolation.report(ours, where)

    return receiver
