from __future__ import annotations

import pytest

from clew.core import isolation


@pytest.fixture(autouse=True)
def strict():
    """A bug of ours fails the test it happens in."""
    isolation.is_strict = True
    yield
    isolation.is_strict = False
