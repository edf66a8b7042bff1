"""The `trace` fixture: what a test's requests and tasks looked like, as a normalised span tree.

Loaded in every pytest run of a site that has clew installed, so it imports nothing before the fixture is asked for.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from clew.testing import Trace


@pytest.fixture
def trace() -> Iterator[Trace]:
    """Spans of this test: `trace.tree()`, `trace.spans`, `trace.named(...)`."""
    from clew.testing import tracing

    with tracing() as captured:
        yield captured
