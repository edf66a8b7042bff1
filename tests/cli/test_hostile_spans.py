"""Whatever a span says, the tree of its trace is drawn: a receiver takes spans from anybody."""

from __future__ import annotations

import math
import unicodedata

import pytest

from clew.attributes import DESCRIPTIONS
from clew.cli.terminal import cells
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


COUNT = 5000
SHAPES = {
    "a chain": lambda n: n - 1,
    "a circle": lambda n: n - 1 or COUNT,
    "circles of two": lambda n: n + 1 if n % 2 else n - 1,
    "a chain that ends in a circle": lambda n: max(n - 1, 1) if n > 1 else 2,
    "itself": lambda n: n,
    "all of one": lambda n: 1 if n > 1 else 0,
    "nobody's": lambda n: 10**6,
}


@pytest.mark.parametrize("shape", SHAPES)
def test_any_shape_of_a_trace_is_drawn(shape):
    parents = {number: SHAPES[shape](number) for number in range(1, COUNT + 1)}
    lines = format_trace(
        [record({}, (n, n + 5), number=n, parent=f"{above:016x}" if above else "") for n, above in parents.items()]
    )
    assert f"{COUNT:,} spans" in lines[0]
    assert 2 < len(lines) < 1100


@pytest.mark.parametrize("width", [1, 40, 60, 100, 10_000])
@pytest.mark.parametrize(
    "name",
    [
        "\x1b[2J\x1b[31m",
        "\x1b]0;t\x07",
        "\r\nfake",
        "a\x08b",
        "\u202egnp",
        "\x9b31m",
        "中" * 300,
        "e\u0301" * 200,
        "\ud800",
    ],
)
def test_no_name_writes_on_the_terminal(name, width):
    said = {"http.route": name, "url.path": name, "clew.warnings": (name,), "exception.message": name}
    for line in format_trace([record(said, kind="SERVER", name=name)], width=width):
        assert cells(line) <= max(width, 40)
        assert not [char for char in line if unicodedata.category(char) in ("Cc", "Cf", "Cs")]
