"""A middleware of the chain, its phases, and how the times of those that were too short for spans are written."""

from __future__ import annotations

from itertools import repeat
from operator import floordiv
from types import FunctionType
from typing import Any

from clew import attributes as names
from clew.source import code_location


class Phase:
    """A phase of a layer: what begins when the chain reaches it.

    Args:
        layer: whose.
        name: request, view, template_response, exception or response.
    """

    __slots__ = ("is_before_view", "layer", "name")

    def __init__(self, layer: Layer, name: str) -> None:
        self.layer, self.name = layer, name
        self.is_before_view = name in ("request", "view")


class Layer:
    """One middleware of a chain (or, without a name, the handler below them all).

    Args:
        name: its dotted name.
        target: the middleware, or its hook.
        phase: of a hook, which it is.
    """

    __slots__ = (
        "_code",
        "hook",
        "is_hook_position",
        "name",
        "outer",
        "request",
        "response",
        "short_name",
        "target",
        "timings",
    )

    def __init__(self, name: str, target: Any = None, phase: str = "") -> None:
        self.name = name
        self.short_name = name.rpartition(".")[2]
        self.target = target
        self.request = Phase(self, "request") if name else None
        self.response = Phase(self, "response") if name else None
        self.hook = Phase(self, phase) if phase else None
        self._code: dict[str, dict[str, Any]] = {}
        self.outer: Layer | None = None
        self.is_hook_position = False
        # Of the outermost layer: how the times of a request are written, by the phases it went through.
        self.timings: dict[tuple[Phase | None, ...], Timings] = {}

    def code(self, phase: str) -> dict[str, Any]:
        """`code.*` of what runs in that phase, looked up when it first is a span."""
        found = self._code.get(phase)
        if found is None:
            found = self._code[phase] = self._located(phase)
        return found

    def _located(self, phase: str) -> dict[str, Any]:
        if isinstance(self.target, FunctionType) or hasattr(self.target, "__func__"):
            return code_location.code_attributes(self.target)
        kind = type(self.target)
        # MiddlewareMixin's __call__ is Django's; what the middleware says itself is in its hooks.
        for name in (f"process_{phase}", "__call__", "process_request", "process_response", "process_view"):
            method = getattr(kind, name, None)
            if method is not None and getattr(method, "__module__", "") != "django.utils.deprecation":
                return {**code_location.code_attributes(method), names.CODE_FUNCTION_NAME: f"{self.name}.{name}"}
        return code_location.code_attributes(kind)


class Timings:
    """How the times of a sequence of phases are written; most requests of a site go through the same one.

    Args:
        phases: the sequence; None between phases.
    """

    __slots__ = ("_template", "are_phases")

    def __init__(self, phases: tuple[Phase | None, ...]) -> None:
        self.are_phases = [phase is not None for phase in phases]
        # `%.0s` takes a time and writes nothing.
        self._template = "".join(
            "%.0s" if phase is None else f", {phase.layer.short_name.replace('%', '%%')} {phase.name} %dus"
            for phase in phases
        )

    def text(self, times_ns: list[int]) -> str:
        """`SessionMiddleware request 12us, ...`."""
        return (self._template % tuple(map(floordiv, times_ns, repeat(1000))))[2:]
