"""What becomes of an exception, as the source of the functions it goes through says, however hard it is to read."""

from __future__ import annotations

import contextlib
import linecache
import sys

import pytest

from clew.source.handlers import HANDLED, NOT_CAUGHT, SWALLOWED, UNKNOWN, catch_of
from clew.source.source_tree import Step

ERROR = LookupError.__mro__


def here():
    frame = sys._getframe(1)
    found = []
    while frame is not None and frame.f_globals.get("__name__") == __name__:
        found.append(Step(frame.f_code, frame.f_lineno, frame.f_globals))
        frame = frame.f_back
    return found


def another_class():
    try:
        return here()
    except ValueError:
        pass


def first_that_takes_it():
    try:
        return here()
    except ValueError:
        return None
    except (TypeError, LookupError):
        raise
    except Exception:
        pass


def a_class_by_its_module():
    try:
        found = here()
    except contextlib.nullcontext:
        found = []
    return found


def over_several_lines():
    try:
        return (
            """
a string at the left
"""
            and here()
        )
    except LookupError:
        pass


def in_a_finally():
    found = []
    try:
        found.append(1)
    except LookupError:
        pass
    finally:
        found = here()
    return found


def in_the_handler_itself():
    try:
        raise KeyError
    except LookupError:
        return here()


def in_a_match(value=1):
    match value:
        case 1:
            try:
                found = here()
            except LookupError as error:
                found = [error]
    return found


def nested_function():
    def inner():
        with contextlib.suppress(KeyError, LookupError):
            return here()

    return inner()


def by_an_unknown_name():
    kinds = (LookupError,)
    try:
        return here()
    except kinds:
        pass


@pytest.mark.parametrize(
    ("function", "fate", "is_by_name"),
    [
        (another_class, NOT_CAUGHT, False),
        (first_that_takes_it, NOT_CAUGHT, False),
        (a_class_by_its_module, NOT_CAUGHT, False),
        (over_several_lines, SWALLOWED, True),
        (in_a_finally, NOT_CAUGHT, False),
        (in_the_handler_itself, NOT_CAUGHT, False),
        (in_a_match, HANDLED, True),
        (nested_function, SWALLOWED, True),
        (by_an_unknown_name, NOT_CAUGHT, False),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_becomes_of_it(function, fate, is_by_name):
    steps = [step for step in function() if step.code.co_name not in ("test_what_becomes_of_it",)]
    catch = catch_of(steps, ERROR)
    assert (catch.fate, catch.is_by_name) == (fate, is_by_name)


def test_without_source_nobody_knows():
    space = {"here": here, "__name__": __name__}
    exec(compile("def lost():\n    return here()\n", "<made>", "exec"), space)
    steps = space["lost"]()
    linecache.clearcache()
    assert catch_of(steps, ERROR).fate == UNKNOWN


@pytest.mark.parametrize(
    "text",
    ["", "def lost(:\n", "def lost():\n    return (\n", "def other():\n    pass\n", "\tx = 1\n  y\n", 'x = """\n'],
)
def test_a_file_that_has_changed_since_tells_nothing(tmp_path, text):
    file = tmp_path / "changed.py"
    file.write_text("def lost():\n    try:\n        return here()\n    except LookupError:\n        pass\n")
    space = {"here": here, "__name__": __name__}
    exec(compile(file.read_text(), str(file), "exec"), space)
    steps = space["lost"]()[:1]
    file.write_text(text)
    assert catch_of(steps, ERROR).fate == UNKNOWN
