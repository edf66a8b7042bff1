"""`_OTHER` for what is one series too many."""

from __future__ import annotations

from clew.engine.series import MAX_SERIES, OTHER, Series


def test_values_are_kept_until_there_are_too_many_of_an_attribute():
    series = Series("queue")
    for each in range(MAX_SERIES):
        assert series.bounded({"queue": str(each)}) == {"queue": str(each)}
    assert series.bounded({"queue": "one more"}) == {"queue": OTHER}
    assert series.bounded({"queue": "7"}) == {"queue": "7"}
    series.reset()
    assert series.bounded({"queue": "one more"}) == {"queue": "one more"}


def test_of_too_many_combinations_what_comes_from_outside_is_other():
    series = Series("queue", "error")
    known = [{"task": "t", "queue": str(each), "error": str(each % 7)} for each in range(MAX_SERIES)]
    assert [series.bounded(labels) for labels in known] == known
    assert series.bounded({"task": "u", "queue": "7", "error": "3"}) == {"task": "u", "queue": OTHER, "error": OTHER}
    assert [series.bounded(labels) for labels in known] == known


def test_values_that_are_no_texts():
    series = Series("port")
    assert series.bounded({"port": 80, "durable": True}) == {"port": 80, "durable": True}
