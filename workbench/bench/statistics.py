"""What many timings of one thing come to: medians, their intervals, and whether two things differ.

Nothing is assumed of how times are distributed: they have a floor and a long tail. An interval for
a median lies between two of the sorted values, chosen so that the median is outside with a
probability of at most 1 - `CONFIDENCE`, by the binomial distribution.

Rounds don't show everything: two processes that run the same code differ by where their memory lies
and by how the device's clock ticks, however often they are timed, and a time also depends on what
runs before and after. Intervals are wider by what was seen of that; those of a ratio by less, since
both its times are taken alike.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence

from pydantic import BaseModel, ConfigDict

CONFIDENCE = 0.95
# By how much, and by how many seconds, two processes of the same code were seen to differ: 0.3 us
# at 8 us and 0.7 % at 87 us on an H200, less on an H100.
ALIKE = 0.01, 0.5e-6
# By how much a call alone and one of many in a row were seen to differ, on an H100: where calls
# follow each other, each waits for the one before or overlaps its end. Most by 0.5 %; by 2.3 % at
# 150 us a kernel that reads its rows a second time, out of what the L2 cache still holds.
OTHERWISE = 0.025, 1e-6


class Interval(BaseModel):
    """A median, and the interval it lies in with a probability of `CONFIDENCE`, or as large as the
    number of values allows.
    """

    model_config = ConfigDict(frozen=True)

    low: float
    median: float
    high: float

    @property
    def spread(self) -> float:
        """The width of the interval over the median."""
        return (self.high - self.low) / self.median if self.median else math.inf

    def holds(self, value: float) -> bool:
        """Whether the value is in the interval."""
        return self.low <= value <= self.high


def interval(values: Sequence[float]) -> Interval:
    """The median of independent values and its interval.

    Raises:
        ValueError: there are none.
    """
    if not values:
        raise ValueError("no values, no median")
    ordered = sorted(values)
    rank = _rank(len(ordered))
    return Interval(
        low=ordered[rank], median=statistics.median(ordered), high=ordered[len(ordered) - 1 - rank]
    )


def of_rounds(rounds: Sequence[Sequence[float]], *, alike: bool = False) -> Interval:
    """The median of all values, and an interval from the rounds' medians: what disturbs a machine
    lasts longer than one timing, so that neighbours are not independent. `alike`: to be held
    against times that were taken alike.
    """
    by_round = interval([statistics.median(values) for values in rounds])
    median = statistics.median([value for values in rounds for value in values])
    found = Interval(low=min(by_round.low, median), median=median, high=max(by_round.high, median))
    return _widened(found, median, ALIKE if alike else OTHERWISE)


def ratio(ours: Sequence[Sequence[float]], theirs: Sequence[Sequence[float]]) -> Interval:
    """Our time over theirs, round by round: what slows down both in a round does not count. In a
    race one of them may have left earlier: the rounds count that both took part in.
    """
    pairs = [
        (statistics.median(a), statistics.median(b)) for a, b in zip(ours, theirs, strict=False)
    ]
    shortest = min(min(pair) for pair in pairs)
    return _widened(interval([a / b for a, b in pairs]), shortest, ALIKE)


def differ(one: Interval) -> bool:
    """Whether a ratio says that two things are not equally fast."""
    return not one.holds(1.0)


def _widened(one: Interval, seconds: float, apart: tuple[float, float]) -> Interval:
    """An interval of what takes so long, by the share or the seconds that two were seen apart."""
    share = max(apart[0], apart[1] / seconds)
    return Interval(low=one.low * (1 - share), median=one.median, high=one.high * (1 + share))


def _rank(count: int) -> int:
    """How many of the sorted values on each side are outside the interval."""
    outside, rank = 0.0, 0
    while rank < count // 2:
        outside += 2 * math.comb(count, rank) / 2**count
        if outside > 1 - CONFIDENCE:
            break
        rank += 1
    return max(0, rank - 1)
