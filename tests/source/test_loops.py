"""The loop a frame is in, as far as its code says."""

# ruff: noqa: B007 - a loop's variables are what is asserted

from __future__ import annotations

import asyncio
import contextlib
import sys

from clew.source import loops


def seen():
    frame = sys._getframe(1)
    loop = loops.innermost(frame)
    return None if loop is None else (loop.is_for, loop.names, loop.values(frame))


def test_for():
    for one in (1,):
        found = seen()
    assert found == (True, ("one",), [1])


def test_for_with_several_names():
    for number, (one, other) in enumerate([(2, 3)]):
        found = seen()
    assert found == (True, ("number", "one", "other"), [0, 2, 3])


def test_while_and_its_condition():
    found, left = [], 2
    while found.append(seen()) or left:
        left -= 1
        found.append(seen())
    assert found == [(False, (), [])] * 5


def test_comprehensions():
    assert [seen() for each in (1,)] == [(True, ("each",), [1])]
    assert list(seen() for each in (1,)) == [(True, ("each",), [1])]  # noqa: C400 - a generator's frame


def test_the_innermost():
    found = []
    for _ in (1,):
        while not found:
            found.append(seen())
    assert found == [(False, (), [])]


def test_none_before_and_after():
    before = seen()
    for _ in (1,):
        pass
    assert (before, seen()) == (None, None)


def test_async_for():
    async def numbers():
        yield 5

    async def go():
        found = []
        async for number in numbers():
            found.append(seen())
            await asyncio.sleep(0)
        found.append(seen())
        for each in (1,):
            await asyncio.sleep(0)
            found.append(seen())
        return found

    assert asyncio.run(go()) == [(True, ("number",), [5]), None, (True, ("each",), [1])]


def test_what_follows_a_try_or_a_with_is_in_no_loop():
    found = []
    with contextlib.suppress(KeyError):
        found.append(seen())
    found.append(seen())
    try:
        found.append(seen())
        raise KeyError
    except KeyError as error:
        found.append((seen(), str(error))[0])
    except ValueError:
        found.append(seen())
    found.append(seen())
    assert found == [None] * 5


def test_a_handler_is_in_the_loop_of_its_try_and_what_follows_is_not():
    found = []
    for one in (1, 2):
        try:
            raise KeyError
        except KeyError:
            found.append(seen())
            continue
        finally:
            found.append(seen())
    after = seen()
    assert (found, after) == ([(True, ("one",), [each]) for each in (1, 1, 2, 2)], None)


def test_the_handler_of_a_try_around_a_loop_is_not_in_it():
    try:
        for one in (1,):
            raise KeyError(one)
    except KeyError:
        found = seen()
    assert found is None


def test_a_loop_in_a_handler():
    try:
        raise KeyError
    except KeyError:
        for one in (1,):
            found = seen()
    assert found == (True, ("one",), [1])


def test_a_call_that_is_tried_again():
    found = []

    def again():
        while True:
            try:
                found.append(seen())
                return 1 // (len(found) - 1)
            except ZeroDivisionError:
                found.append(seen())

    again()
    assert found == [(False, (), [])] * 3


def test_after_an_async_for():
    async def numbers():
        yield 1

    async def run():
        async with contextlib.aclosing(numbers()) as them:
            async for one in them:
                inside = seen()
        return inside, seen()

    assert asyncio.run(run()) == ((True, ("one",), [1]), None)
