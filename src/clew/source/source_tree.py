"""The source of the application's functions that are being run, as trees with the file's line numbers.

Read only when something has been found, a function at a time, and kept; nothing is executed.
"""

from __future__ import annotations

import ast
import functools
import inspect
import linecache
import textwrap
import tokenize
from collections.abc import Iterator, Sequence
from types import CodeType, FrameType
from typing import Any, NamedTuple

from clew.source.frames import APPLICATION, FIRST_END, THREAD, kind_of
from clew.source.stack import stack

_MAX_STEPS = 30
_MAX_LINES = 15
_OF_OTHERS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)


class Step(NamedTuple):
    """A function of the application that is being run.

    Args:
        code: its code.
        line: where it is.
        space: its global names.
    """

    code: CodeType
    line: int
    space: dict[str, Any]


def steps_of(frame: FrameType | None) -> tuple[Step, ...]:
    """The application's functions on the stack, innermost first, as far as the view or task."""
    found: list[Step] = []
    for each in stack(frame):
        kind = kind_of(each)
        if kind == APPLICATION and (not each.f_code.co_name.startswith("<") or each.f_code.co_name == "<module>"):
            found.append(Step(each.f_code, each.f_lineno or 0, each.f_globals))
        # Behind a thread come the coroutines that wait for it.
        if len(found) >= _MAX_STEPS or (kind >= FIRST_END and kind != THREAD and found):
            break
    return tuple(found)


def function_at(step: Step) -> ast.AST | None:
    """The tree of a function's source; None where there is none."""
    return _parsed(step.code.co_filename, step.code.co_firstlineno, step.code.co_name)


@functools.lru_cache(maxsize=200)
def _parsed(path: str, first_line: int, name: str) -> ast.AST | None:
    """A function's source as a tree, with the file's line numbers; None where there is none."""
    try:
        lines = linecache.getlines(path)[first_line - 1 :]
        block = lines if name == "<module>" else inspect.getblock(lines)
        # Below an `if` it need not be dedented, which strings over several lines do not survive.
        is_indented = bool(block) and block[0][:1].isspace()
        tree = ast.parse("".join(["if True:\n" if is_indented else "", *block]))
    except (OSError, SyntaxError, ValueError, RecursionError, tokenize.TokenError):
        return None  # perhaps another text than the one that was loaded
    ast.increment_lineno(tree, first_line - (2 if is_indented else 1))
    if name == "<module>":
        return tree
    body: Any = tree.body[:1]
    body = body[0].body[:1] if is_indented and body else body
    return body[0] if body and getattr(body[0], "name", None) == name else None


def statement_from(path: str, line: int) -> ast.stmt | None:
    """The statement that begins on a line; None where none does, or it is longer than a few lines."""
    lines = linecache.getlines(path)[line - 1 : line - 1 + _MAX_LINES]
    for count in range(1, len(lines) + 1):
        try:
            body = ast.parse(textwrap.dedent("".join(lines[:count]))).body
        except (SyntaxError, ValueError, RecursionError):
            continue
        return body[0] if len(body) == 1 else None
    return None


def path_to(function: ast.AST, line: int) -> list[ast.stmt]:
    """The statements a line is in, from the outside."""
    found: list[ast.stmt] = []
    inside: ast.AST | None = function
    while inside is not None:
        inside = next((each for each in _statements(inside) if is_in([each], line)), None)
        if isinstance(inside, ast.stmt):
            if isinstance(inside, _OF_OTHERS):
                break
            found.append(inside)
    return found


def _statements(node: ast.AST) -> Iterator[ast.stmt]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.stmt):
            yield child
        elif isinstance(child, (ast.ExceptHandler, ast.match_case)):
            yield from _statements(child)


def is_in(body: Sequence[ast.stmt], line: int) -> bool:
    """Whether a line is one of these statements'."""
    return bool(body) and body[0].lineno <= line <= (body[-1].end_lineno or body[-1].lineno)
