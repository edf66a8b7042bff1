"""Whether a series of readings grows for good: its lowest readings over time, in a fixed number of buckets.

What goes down again (garbage, an allocator's saw) lifts no minimum; what goes up once (an import, one big list) is one
step of many; what fills and stays (a cache) rises less and less. Only what rises in each third of the time is a trend.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

WARM_UP = 20
_WIDTH = 5
_MAX_BUCKETS = 24
_MIN_BUCKETS = 9
# Shares of the whole growth.
_FLAT = 0.05
_MIN_OF_A_THIRD = 0.1
_MIN_OF_THE_LAST_THIRD = 0.2
_MAX_OF_A_STEP = 0.3


class Growth(NamedTuple):
    """A trend.

    Args:
        gained: by how much the lowest readings over time have risen.
        readings: over how many readings.
    """

    gained: int
    readings: int


class Trend:
    """The lowest readings of a series over time; its size does not depend on the series' length."""

    def __init__(self) -> None:
        self.count = 0
        self._lows: list[int] = []
        self._width = _WIDTH
        self._left = _WIDTH
        self._low = 0

    @property
    def risen(self) -> int:
        """By how much the last bucket is above the lowest; cheap, and never less than what `growth` finds."""
        return self._lows[-1] - min(self._lows) if self._lows else 0

    def add(self, value: int) -> bool:
        """Take a reading. True: a bucket is full, so there may be something new to say."""
        self.count += 1
        if self.count <= WARM_UP:
            return False
        if self._left == self._width or value < self._low:
            self._low = value
        self._left -= 1
        if self._left:
            return False
        self._lows.append(self._low)
        if len(self._lows) == _MAX_BUCKETS:
            self._lows = [min(pair) for pair in zip(self._lows[::2], self._lows[1::2], strict=True)]
            self._width *= 2
        self._left = self._width
        return True

    def growth(self) -> Growth | None:
        """The trend, if there is one."""
        envelope = self._envelope()
        total = envelope[-1] - envelope[0] if envelope else 0
        if total <= 0:
            return None
        # It may have begun late: what was flat before does not count.
        start = max(at for at, low in enumerate(envelope) if low - envelope[0] <= _FLAT * total)
        rising = envelope[start:]
        gained, steps = rising[-1] - rising[0], len(rising) - 1
        if len(rising) < _MIN_BUCKETS:
            return None
        thirds = [rising[steps * part // 3] for part in range(4)]
        shares = [later - earlier for earlier, later in pairwise(thirds)]
        largest = max(later - earlier for earlier, later in pairwise(rising))
        if min(shares) < _MIN_OF_A_THIRD * gained or shares[-1] < _MIN_OF_THE_LAST_THIRD * gained:
            return None
        if largest > _MAX_OF_A_STEP * gained:
            return None
        return Growth(gained, steps * self._width)

    def _envelope(self) -> list[int]:
        """For each bucket the lowest that came from then on."""
        envelope, low = list(self._lows), 0
        for at in range(len(envelope) - 1, -1, -1):
            low = envelope[at] if at == len(envelope) - 1 else min(low, envelope[at])
            envelope[at] = low
        return envelope
