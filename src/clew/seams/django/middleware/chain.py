"""Chains that were built before clew was set up (`setup_tracing()` below `get_wsgi_application()` in wsgi.py).

Building them anew would make every middleware a second time. Each layer is held by a closure of Django's own
(`convert_exception_to_response.<locals>.inner`): when the handler's next request comes, its cell is given the traced
layer, and at the end its old content back.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import CellType, FunctionType
from typing import Any

_MAX_LAYERS = 200


def layer_cells(chain: Any) -> list[CellType]:
    """The cells that hold the layers of a chain, outermost first."""
    cells: list[CellType] = []
    inner = _inner_below(chain)
    while inner is not None and len(cells) < _MAX_LAYERS:
        cell = _cell_of(inner, "get_response")
        if cell is None:
            break
        cells.append(cell)
        inner = next(filter(None, map(_inner_below, _held_by(cell.cell_contents))), None)
    return cells


def replace_content(cell: CellType, content: Any) -> Callable[[], None]:
    """Put something else into a cell; returns what puts the old content back."""
    old = cell.cell_contents
    cell.cell_contents = content

    def undo() -> None:
        if cell.cell_contents is content:
            cell.cell_contents = old

    return undo


def _inner_below(candidate: Any) -> FunctionType | None:
    for _ in range(4):
        if isinstance(candidate, FunctionType):
            return candidate if _is_inner(candidate) else None
        below = getattr(candidate, "func", None) or getattr(candidate, "awaitable", None)
        if below is None:
            return None
        candidate = below
    return None


def _is_inner(function: FunctionType) -> bool:
    # functools.wraps has given it the layer's name; its code is still Django's.
    code = function.__code__
    return code.co_name == "inner" and function.__globals__.get("__name__") == "django.core.handlers.exception"


def _cell_of(function: FunctionType, name: str) -> CellType | None:
    names = function.__code__.co_freevars
    if name not in names or function.__closure__ is None:
        return None
    return function.__closure__[names.index(name)]


def _held_by(layer: Any) -> Iterator[Any]:
    """What a middleware may keep its `get_response` in: an attribute, or a closure."""
    yield from vars(layer).values() if hasattr(layer, "__dict__") and not isinstance(layer, FunctionType) else ()
    for cell in getattr(layer, "__closure__", None) or ():
        try:
            yield cell.cell_contents
        except ValueError:  # an empty cell
            continue
