"""The place a query is run from, told again by the way it came."""

from __future__ import annotations

import sys
from typing import Any

from clew.source import frames
from clew.source.place import CallPath, place, place_by_path


def _asked(way: CallPath | None) -> tuple[int, CallPath | None]:
    """As a query's seam does."""
    return place_by_path(sys._getframe(1), 1, way)


def _library(way: CallPath | None) -> tuple[int, CallPath | None]:
    return _asked(way)


def _helper(way: CallPath | None) -> tuple[int, CallPath | None]:
    return _library(way)


def _get_response(call: Any) -> Any:
    """Where a walk ends."""
    return call()


def _places_of(call: Any) -> Any:
    """What `call` gives, with this module's functions as the kinds of a real stack."""
    for function, kind in ((_library, frames.LIBRARY), (_asked, frames.LIBRARY), (_get_response, frames.VIEW)):
        code: Any = function.__code__
        frames._held[id(code)], frames.KINDS[id(code)] = code, kind
    try:
        return _get_response(call)
    finally:
        frames.reset()


def test_a_loop_comes_the_same_way_and_is_not_walked_again() -> None:
    def looped() -> list[tuple[int, CallPath | None]]:
        found: list[tuple[int, CallPath | None]] = [(0, None)]
        for _ in range(3):
            found.append(_helper(found[-1][1]))
        return found[1:]

    (first, way), (second, again), (third, _) = _places_of(looped)
    assert first == second == third
    assert way is again


def test_another_line_further_out_is_another_place_and_its_way_is_known_from_then_on() -> None:
    def two_lines() -> list[tuple[int, CallPath | None]]:
        found: list[tuple[int, CallPath | None]] = [(0, None)]
        for _ in range(3):
            found.append(_helper(found[-1][1]))
            found.append(_helper(found[-1][1]))
        return found[1:]

    places = [at for at, _ in _places_of(two_lines)]
    assert places[0::2] == [places[0]] * 3
    assert places[1::2] == [places[1]] * 3
    assert places[0] != places[1]


def test_a_way_is_walked_anew_when_what_is_known_of_frames_no_longer_holds() -> None:
    ways: list[CallPath | None] = [None]

    def looped() -> list[int]:
        found = []
        for _ in range(2):
            at, way = _helper(ways[-1])
            ways.append(way)
            found.append(at)
        return found

    before = _places_of(looped)
    after = _places_of(looped)
    assert len({*before, *after}) == 1
    assert ways[1] is ways[2]
    assert ways[2] is not ways[3]


def test_a_stack_that_is_less_deep_is_another_place() -> None:
    def deeper(way: CallPath | None, left: int) -> tuple[int, CallPath | None]:
        return deeper(way, left - 1) if left else _helper(way)

    def both() -> list[tuple[int, CallPath | None]]:
        deep = deeper(None, 3)
        return [deep, _helper(deep[1])]

    (deep, _), (flat, _) = _places_of(both)
    assert deep != flat


def test_the_walk_and_the_way_agree() -> None:
    def both() -> tuple[list[int], list[int]]:
        walked, told, way = [], [], None
        for _ in range(3):
            at, way = _helper(way)
            told.append(at)
            walked.append(place(sys._getframe()))
        return walked, told

    walked, told = _places_of(both)
    assert len(set(walked)) == len(set(told)) == 1
