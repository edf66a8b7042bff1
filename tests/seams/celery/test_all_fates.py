"""Every fate of a task, on a real worker of each broker, as a receiver in another process sees it: one row each.

`pytest -s` prints the table; so does `python -m tests.seams.celery.fate_table`.
"""

from __future__ import annotations

import functools

import pytest

from clew import attributes as names
from clew.cli.view.receiver import SpanRecord
from tests.seams.celery import fate_table
from tests.seams.celery.fate_rows import Row
from tests.seams.celery.fate_table import Seen, differences
from tests.seams.celery.test_worker import _connections  # noqa: F401 - a fixture
from tests.services import require

# kombu 5.3 and today's redis, when the worker's answer is read.
pytestmark = [
    pytest.mark.redis,
    pytest.mark.filterwarnings("ignore:Call to 'get_connection':DeprecationWarning"),
]


@pytest.fixture(scope="module")
def seen_of(tmp_path_factory):
    """What a worker of that broker has left; each is started once."""

    @functools.lru_cache
    def see(broker: str) -> dict[str, Seen] | Exception:
        try:
            seen = fate_table.see(broker, tmp_path_factory.mktemp(broker))
        except Exception as error:  # not once more for each row
            return error
        print("", fate_table.markdown(broker, seen), sep="\n")
        return seen

    def seen_of(broker: str) -> dict[str, Seen]:
        require("redis")
        require(broker)
        seen = see(broker)
        if isinstance(seen, Exception):
            raise seen
        return seen

    return seen_of


def _rows(broker: str, *marks: pytest.MarkDecorator) -> list[object]:
    return [pytest.param(broker, row, marks=marks, id=f"{broker}-{row.name}") for row in fate_table.rows(broker)]


@pytest.mark.parametrize(("broker", "row"), [*_rows("redis"), *_rows("rabbitmq", pytest.mark.rabbitmq)])
def test_fate(seen_of, broker: str, row: Row):
    seen = seen_of(broker)[row.name]
    assert seen.trace == row.trace
    assert not differences(row, seen)
    for span in seen.spans:
        if span.kind == "CONSUMER":
            _assert_linked(span, seen)
            assert span.attributes["messaging.system"] == broker
            assert span.end_ns >= span.start_ns
    assert len({span.span_id for span in seen.spans}) == len(seen.spans)


def _assert_linked(span: SpanRecord, seen: Seen) -> None:
    links = {link[2][names.CLEW_LINK_KIND]: (link[0], link[1]) for link in span.links}
    known = {(each.trace_id, each.span_id): each for each in seen.spans}
    # What is sent by hand is published by the span above.
    published = known.get(links["publish"])
    assert (published is None) == (links["publish"] == seen.above)
    if published is not None:
        assert (published.kind, published.trace_id) == ("PRODUCER", span.trace_id)
        assert published.attributes["messaging.message.id"] == span.attributes["messaging.message.id"]
    if "previous_attempt" in links:
        assert known[links["previous_attempt"]].kind == "CONSUMER"
        assert known[links["previous_attempt"]].start_ns < published.start_ns < span.start_ns
        assert links["first_publish"][1] == span.parent_span_id
    else:
        assert links["publish"][1] == span.parent_span_id


@pytest.mark.parametrize("broker", ["redis", pytest.param("rabbitmq", marks=pytest.mark.rabbitmq)])
def test_a_fate_lasts_from_the_start_of_the_run_to_the_death(seen_of, broker):
    seen = seen_of(broker)
    killed, hard, kept = (_ms(seen, name, span) for name, span in _LASTING)
    assert killed >= 200
    assert hard >= 1000
    assert kept >= 1000
    assert _ms(seen, "revoked before it came", "revoked/add") < 100
    lost = seen["killed (SIGKILL, as the OOM killer does)"].named("lost/killed")
    assert lost.attributes["celery.child.pid"] != lost.resource["process.pid"]


_LASTING = (
    ("killed (SIGKILL, as the OOM killer does)", "lost/killed"),
    ("hard time limit", "lost/hard"),
    ("killed, what it had exported", "lost/kept"),
)


def _ms(seen: dict[str, Seen], row: str, name: str) -> float:
    span = seen[row].named(name)
    return (span.end_ns - span.start_ns) / 1e6
