"""Detectors that are told nothing more in this process, since what they need of another library is missing."""

from __future__ import annotations

from collections.abc import Callable

types: set[str] = set()
_on_change: list[Callable[[], None]] = []


def silence(*detectors: str) -> None:
    """Have these detectors told nothing more: they would be wrong."""
    types.update(detectors)
    for call in _on_change:
        call()


def listen(on_change: Callable[[], None]) -> None:
    """Have this called, and nothing else, when another detector is silenced."""
    _on_change[:] = [on_change]
