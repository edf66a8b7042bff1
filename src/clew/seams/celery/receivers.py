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
        # As what each is connected, where that has changed.
        self._connected_as: dict[str, object] = {}

    @property
    def patches(self) -> tuple[Patch, ...]:
        """Places of the seam: each connects its receiver and leaves the signal itself as it is."""
        return tuple(Patch(MODULE, name, self._connecting(guarded)) for name, guarded in self._guarded.items())

    def disconnect(self) -> None:
        """Disconnect them all."""
        signals = sys.modules.get(MODULE)
        if signals is not None:
            for name, guarded in self._guarded.items():
                getattr(signals, name).disconnect(guarded, dispatch_uid=self._connected_as.pop(name, None))

    def come_last(self, name: str) -> None:
        """Have the receiver called after whoever has connected since: what these do is still part of what it ends.

        For a moment it is connected twice, never not at all: other threads may be sending.
        """
        signal, guarded = getattr(sys.modules[MODULE], name), self._guarded[name]
        if signal.receivers and signal.receivers[-1][1] is guarded:
            return
        before, self._connected_as[name] = self._connected_as.get(name), object()
        signal.connect(guarded, weak=False, dispatch_uid=self._connected_as[name])
        signal.disconnect(guarded, dispatch_uid=before)

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
