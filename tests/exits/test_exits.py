"""Whatever way a process ends, the spans that have ended arrive; the batch delay is a minute."""

from __future__ import annotations

import pytest

from tests.exits.rows import ROWS
from tests.exits.table import is_there, run
from tests.seams.celery.span_sink import sink


@pytest.fixture(scope="module")
def received(tmp_path_factory):
    with sink(tmp_path_factory.mktemp("exits") / "spans") as received:
        yield received


@pytest.mark.slow
@pytest.mark.parametrize(("row", "signalled"), [(row, each) for row in ROWS for each in row.signals], ids=str)
def test_every_span_arrives(row, signalled, received):
    if not is_there(row):
        pytest.skip(f"{row.needs} is not installed")
    count, said = run(row, signalled, "clew", received)
    assert count == row.spans, said
    assert "internal error" not in said
    assert "were lost" not in said
