"""Whatever a span says, the tree of its trace is drawn: a receiver takes spans from anybody."""

from __future__ import annotations

import math

import pytest

from clew.attributes import DESCRIPTIONS
from clew.cli.view.details import finding_count, query_totals
from clew.cli.view.span_record import SpanRecord
from clew.cli.view.tree import format_trace

VALUES = [math.inf, -math.inf, math.nan, -1, 0, 10**30, 1e300, True, "", "x" * 300, "\x1b[31m", b"x", None]
VALUES += [[], ["a", 1], {"a": [1]}, [[]]]
NAMES = [*DESCRIPTIONS, "db.system", "http.method", "exception.type", "clew.finding.type", "clew.finding.about"]
TIMES = [(1, 2), (0, 0), (2, 1), (2**63, 2**64 - 1), (1, 2**64 - 1)]


def record(attributes, times=(10, 20), name="x", kind="INTERNAL", number=1, parent=""):
    events = (("exception", times[0], attributes), ("clew.finding.n_plus_one", times[1], attributes))
    links = (("1" * 32, "2" * 16, attributes),)
    ids = ("a" * 32, f"{number:016x}", parent)
    return SpanRecord(
        *ids, name, kind, *times, "ERROR", "m", attributes, events, links, "clew.seams.x", "s", attributes
    )


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_any_value_of_any_attribute_is_drawn(value):
    for name in NAMES:
        records = [record({name: value}, kind=kind) for kind in ("INTERNAL", "SERVER", "CONSUMER")]
        assert format_trace(records)
        finding_count(records)
        query_totals(records)


@pytest.mark.parametrize("times", TIMES)
def test_any_times_are_drawn(times):
    assert format_trace([record({}, times), record({}, (5, 6), number=2, parent=f"{1:016x}")])
