"""A process that its server replaces says so on what it serves last, and is counted once."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from clew.story import recycling
from tests.metered import reader, values  # noqa: F401 - a fixture


@pytest.fixture(autouse=True)
def _reset():
    recycling.reset()
    yield
    recycling.reset()


def uvicorn(served, limit):
    return SimpleNamespace(config=SimpleNamespace(limit_max_requests=limit), server_state=served)


def test_it_is_counted_once_however_many_are_still_served(reader):  # noqa: F811
    state = SimpleNamespace(total_requests=7)
    recycling.serving(uvicorn(state, 10))
    assert recycling.reached() == 0
    state.total_requests = 9
    assert [recycling.reached(), recycling.reached()] == [10, 10]
    assert values(reader, "clew.server.recycled") == {(): 1}


@pytest.mark.parametrize("server", [uvicorn(SimpleNamespace(total_requests=7), None), SimpleNamespace(), None])
def test_one_that_is_not_replaced_says_nothing(reader, server):  # noqa: F811
    recycling.serving(server)
    assert (recycling.requests_until_replaced(), recycling.reached()) == (0, 0)
    assert values(reader, "clew.server.recycled") == {}


def test_no_server_is_on_the_stack_of_a_test():
    assert recycling.reached() == 0
