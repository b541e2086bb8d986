"""Two clocks over the same runs: ours, and the events of the device, which are a worker's word.

The time per call is the difference quotient of N and 2N calls, so that neither the request nor the
start of the device counts; but no less than N calls took without what those may cost, or whoever
waits in the run of N would seem fast. How fast the machine happens to be is in both clocks;
compared over different runs, they were apart by up to a third on a shared host (H100), over the
same runs never by more than 2 %.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

# The shorter run lasts about so long, of which a request takes a fraction of a millisecond; the
# fastest of so many counts.
RUN_SECONDS, RUNS = 0.05, 2
MOST = 4096
# The most a request and the start of the device take together.
START_SECONDS = 0.005
# How far the two clocks may be apart, beside noise.
APART, APART_SECONDS = 0.1, 3e-6


class Seconds(NamedTuple):
    """A time by our clock, and by the device's events."""

    ours: float
    theirs: float

    @property
    def agree(self) -> bool:
        """Whether the two say the same."""
        return abs(self.ours - self.theirs) <= APART * max(self) + APART_SECONDS

    def __str__(self) -> str:
        theirs, ours = 1e6 * self.theirs, 1e6 * self.ours
        return f"{theirs:.1f} us a call by its events, {ours:.1f} by our clock"


# So many calls in a row.
Run = Callable[[int], Seconds]


def enough(run: Run, calls: int) -> int:
    """How many calls last long enough, from so many on."""
    while calls < MOST and run(calls).ours < RUN_SECONDS:
        calls *= 2
    return calls


def per_call(run: Run, calls: int, between: Callable[[], None] = lambda: None) -> Seconds:
    """Seconds per call, from the least disturbed runs of `calls` and of twice as many."""
    once = _fastest(run, calls)
    between()
    twice = _fastest(run, 2 * calls)
    pairs = zip(once, twice, strict=True)
    return Seconds(*(max(two - one, one - START_SECONDS) / calls for one, two in pairs))


def _fastest(run: Run, calls: int) -> Seconds:
    return min(run(calls) for _ in range(RUNS))
