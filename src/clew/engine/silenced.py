"""Detectors that are told nothing more in this process, since what they need of another library is missing."""

from __future__ import annotations

from collections.abc import Callable

types: set[str] = set()
_on_change: list[Callable[[], None]] = []


def silence(*detectors: str) -> None:
    """Switch these detectors off, because what they rely on is missing."""
    types.update(detectors)
    for call in _on_change:
        call()


def listen(on_change: Callable[[], None]) -> None:
    """Set the one function that is called when another detector is silenced."""
    _on_change[:] = [on_change]
