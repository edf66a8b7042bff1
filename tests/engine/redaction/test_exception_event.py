"""What an exception looks like on a span: sizes, secrets across a cut, chains, groups, frames."""

from __future__ import annotations

import sys

import pytest

from clew.engine.redaction import exception_event
from clew.engine.redaction.exception_event import described, error_description, exception_attributes, message_of

SECRET = "cAnary7x"
LIMIT = 2_048 + 80


def raised(raiser):
    with pytest.raises(BaseException) as info:  # noqa: PT011
        raiser()
    return info.value


def stack_of(error):
    return exception_attributes(error)["exception.stacktrace"]


class Told:
    """Text whose `str()` is counted."""

    asked = 0


class AskedError(Exception):
    def __str__(self):
        Told.asked += 1
        return "password=hunter2 for bob"


def test_description_and_event_say_the_same_and_ask_once():
    def fail():
        raise AskedError

    error = raised(fail)
    Told.asked = 0
    description, attributes = described(error)
    assert Told.asked == 1
    assert description == "AskedError: password=[redacted] for bob" == error_description(error)
    assert attributes == exception_attributes(error)
    assert attributes["exception.type"] == f"{__name__}.AskedError"
    assert attributes["exception.message"] == "password=[redacted] for bob"
    assert attributes["exception.escaped"] == "True"
    lines = attributes["exception.stacktrace"].splitlines()
    assert lines[0] == "Traceback (most recent call last):"
    assert f'  File "{__file__}", line {fail.__code__.co_firstlineno + 1}, in fail' in lines
    assert "    raise AskedError" in lines
    assert lines[-1] == f"{__name__}.AskedError: password=[redacted] for bob"


def test_long_message_is_cut_and_says_how_much():
    error = ValueError("ab" * 5_000)
    assert message_of(error) == "ab" * 1_024 + " [7952 characters are cut]"
    assert len(error_description(error)) <= LIMIT
    assert message_of(ValueError("a" * 2_048)) == "a" * 2_048


@pytest.mark.parametrize(
    "secret",
    [
        f"password='{SECRET * 400}'",
        f"{{'password': ['{SECRET}', '{SECRET * 900}']}}",
        f"redis://user:{SECRET * 900}@host/0",
        f"token {SECRET}".replace("token ", "token=") * 300,
        f"-----BEGIN RSA PRIVATE KEY-----\n{SECRET * 900}",
        f"eyJ{SECRET * 900}.{SECRET}.{SECRET}",
        f"duplicate key\nDETAIL:  Key (email)=({SECRET * 900}) already exists.",
        f"Cookie: a=1; b={SECRET * 900}",
    ],
)
@pytest.mark.parametrize("at", [0, 2_000, 2_040])
def test_a_cut_leaves_no_half_of_a_secret(secret, at):
    error = ValueError("word " * (at // 5) + secret + " end")
    assert SECRET not in str(described(error))


def test_str_that_fails_is_told_by_the_class():
    class BrokenError(Exception):
        def __str__(self):
            raise RuntimeError("no")

    description, attributes = described(BrokenError())
    assert description == "BrokenError: <BrokenError: str() failed>"
    assert attributes["exception.stacktrace"].endswith("<BrokenError: str() failed>\n")


def test_the_end_of_a_long_stack_is_kept():
    def deep(left):
        if not left:
            raise ValueError("the end")
        return deep(left - 1) if left % 2 else deeper(left - 1)

    def deeper(left):
        return deep(left - 1)

    error = raised(lambda: deep(400))
    stack = stack_of(error)
    assert len(stack) <= 16_384 + 80
    assert "frames are left out]" in stack or stack.startswith("[")
    assert stack.endswith("ValueError: the end\n")
    assert 'raise ValueError("the end")' in stack


def test_recursion_error_is_told_in_a_few_lines():
    def again():
        again()

    stack = stack_of(raised(again))
    assert "[Previous line repeated" in stack
    assert "RecursionError: maximum recursion depth exceeded" in stack
    assert len(stack) < 3_000


def test_stack_that_is_longer_than_its_size_begins_with_a_line():
    error = None
    for number in range(8):
        above = ValueError(f"{number}" * 4_000)
        above.__cause__ = error
        error = above
    stack = stack_of(error)
    assert len(stack) <= 16_384 + 80
    first, _, rest = stack.partition("\n")
    assert first.endswith("characters are cut]")
    assert rest.startswith("\nThe above exception was the direct cause")
    assert rest.endswith("7 [1952 characters are cut]\n")


def test_chain_is_told_oldest_first_and_ends_in_time():
    def fail():
        try:
            raise KeyError("first")
        except KeyError as error:
            raise ValueError("second") from error

    stack = stack_of(raised(fail))
    assert stack.index("KeyError: 'first'") < stack.index("direct cause") < stack.index("ValueError: second")
    one, other = ValueError("one"), ValueError("other")
    one.__cause__, other.__cause__ = other, one
    assert stack_of(one).count("ValueError: one\n") == 1
    last = ValueError("last")
    step = last
    for number in range(5_000):
        step.__cause__ = ValueError(str(number))
        step = step.__cause__
    stack = stack_of(last)
    assert stack.startswith("[earlier exceptions are left out]\n")
    assert stack.count("ValueError: ") == 8


def test_suppressed_context_is_not_told():
    def fail():
        try:
            raise KeyError("first")
        except KeyError:
            raise ValueError("second") from None

    assert "KeyError: 'first'" not in stack_of(raised(fail))


@pytest.mark.skipif(sys.version_info < (3, 11), reason="groups and notes came with Python 3.11")
def test_group_and_notes_are_told_redacted():
    inner = KeyError("a")
    inner.add_note("password=hunter2")
    group = ExceptionGroup("several", [inner, *(ValueError(str(number)) for number in range(100))])  # noqa: F821
    stack = stack_of(group)
    assert "+---------------- 1 of 101 ----------------\n  | KeyError: 'a'\n  | password=[redacted]\n" in stack
    assert stack.count("  +--") == 8
    for _ in range(300):
        group = ExceptionGroup("deeper", [group])  # noqa: F821
    assert stack_of(group).count("deeper") < 10


def test_values_of_a_database_error_are_taken_out():
    class DatabaseError(Exception):
        pass

    class OddError(DatabaseError):
        pass

    assert message_of(OddError(f'value "{SECRET}" does not fit column "age"')) == (
        'value "[redacted]" does not fit column "age"'
    )
    assert message_of(ValueError('value "abc" does not fit column "age"')) == 'value "abc" does not fit column "age"'


def test_frames_of_ours_are_left_out():
    space = {}
    exec(compile("def wrapper(f):\n    return f()", "<clew importlib _bootstrap>", "exec"), space)
    exec(compile("def inner(f):\n    return f()", exception_event.__file__, "exec"), space)

    def fail():
        raise ValueError("x")

    stack = stack_of(raised(lambda: space["wrapper"](lambda: space["inner"](fail))))
    assert "clew importlib" not in stack
    assert exception_event.__file__ not in stack
    assert "in fail" in stack


def test_objects_of_the_application_are_not_asked_for_their_names():
    class Lazy:
        def __dir__(self):
            raise AssertionError("evaluated")

    assert stack_of(raised(lambda: Lazy().nam)).endswith("AttributeError: 'Lazy' object has no attribute 'nam'\n")


def test_line_of_a_minified_file_is_cut(tmp_path):
    path = tmp_path / "big.py"
    path.write_text("x = [" + "1, " * 100_000 + "1 / 0]\n")
    code = compile(path.read_text(), str(path), "exec")
    assert len(stack_of(raised(lambda: exec(code)))) < 3_000
