"""When something is faster, at whose expense, and when to stop looking."""

from __future__ import annotations

import math
import re
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from workbench.bench.contest import Direction
from workbench.bench.measurement import OURS, Measurement
from workbench.errors import UsageError
from workbench.tune.wave import Ratio, Times

# How much slower it may be elsewhere; what is no gain; after how many of those in a row to stop.
GUARD, LEAST_GAIN, FRUITLESS = 0.05, 0.01, 2
# What two processes of the same code differ by besides: one call's host time, one allocation.
HOST_SECONDS, ALLOCATION_BYTES = 20e-6, 1 << 20

_WAYS: dict[str, Direction] = {
    "fwd": "forward",
    "forward": "forward",
    "bwd": "backward",
    "backward": "backward",
    "both": "both",
}


@dataclass(frozen=True)
class Target:
    """A share of the floor to reach: at one size, or at the largest of each width."""

    text: str
    direction: Direction
    share: float
    size: tuple[int, int] | None = None

    @classmethod
    def parse(cls, text: str) -> Target:
        """What `fwd>=0.9` or `both >= 0.75 @ 16384x4096` asks for.

        Raises:
            UsageError: it is no target.
        """
        form = r"\s*(\w+)\s*>=\s*(\d*\.?\d+)\s*(?:@\s*(\d+)x(\d+)\s*)?"
        found = re.fullmatch(form, text)
        if found is None or found[1] not in _WAYS or not 0 < float(found[2]) <= 1.5:
            raise UsageError(f"{text!r} is no target", 'as in "fwd>=0.9" or "bwd>=0.8@16384x4096"')
        size = (int(found[3]), int(found[4])) if found[3] else None
        return cls(text, _WAYS[found[1]], float(found[2]), size)

    def reached(self, times: Times, floors: Times) -> bool:
        """Whether the share is reached wherever it counts."""
        sizes = {(rows, cols) for rows, cols, _ in times}
        counts = largest(sizes) if self.size is None else sizes & {self.size}
        ways: list[Direction] = (
            ["forward", "backward"] if self.direction == "both" else [self.direction]
        )
        shares = []
        for size in counts:
            spent = sum(times.get((*size, way), math.inf) for way in ways)
            shares.append(sum(floors.get((*size, way), 0.0) for way in ways) / spent)
        return bool(shares) and all(share >= self.share for share in shares)


def largest(sizes: Iterable[tuple[int, int]]) -> set[tuple[int, int]]:
    """Of each width the size with the most rows."""
    rows = dict[int, int]()
    for one, cols in sizes:
        rows[cols] = max(one, rows.get(cols, 0))
    return {(most, cols) for cols, most in rows.items()}


def noise(measurement: Measurement, itself: str) -> float:
    """How far an op is from itself at the largest sizes, at worst."""
    counts = largest((point.rows, point.cols) for point in measurement.points)
    ratios = [
        point.against(itself, way)
        for point in measurement.points
        if (point.rows, point.cols) in counts
        for way in point.floors
    ]
    return max((abs(r.median - 1) for r in ratios if r is not None), default=0.0)


def gain(ratios: Iterable[Ratio]) -> float:
    """The share of the time that is saved, as a mean over sizes and directions."""
    logs = [math.log(one.over.median) for one in ratios]
    return 1 - math.exp(sum(logs) / len(logs)) if logs else 0.0


def faster(ratios: Sequence[Ratio], noise: float) -> bool:
    """Whether something is faster: surely at some size, on the whole beyond noise, and at nobody's
    expense; least of all at the largest size, which a training run has most of.
    """
    surely = any(one.over.high < 1 for one in ratios)
    most = largest((one.rows, one.cols) for one in ratios)
    slower = any(one.over.low > 1 for one in ratios if (one.rows, one.cols) in most)
    return surely and gain(ratios) > max(LEAST_GAIN, noise) and not slower and not expenses(ratios)


def expenses(ratios: Sequence[Ratio]) -> list[str]:
    """Where something is slower: by more than the guard, or in one direction for the other's sake.

    All with what is certain of them: the better end of the interval.
    """
    found = []
    for one in ratios:
        paid = any(
            (other.rows, other.cols) == (one.rows, one.cols) and other.over.high < 1
            for other in ratios
        )
        allowed = 0.0 if paid else GUARD
        if one.over.low > 1 + allowed:
            where = f"{one.direction} {one.rows} x {one.cols}"
            for_other = ", for the other direction's sake" if paid else ""
            found.append(f"{where} takes {one.over.median:.2f}x the time{for_other}")
    return found


def host_noise(measurement: Measurement, itself: str) -> float:
    """How far an op's host time is from itself, at worst."""
    pairs = [(point.of(OURS), point.of(itself)) for point in measurement.points]
    ratios = [
        seconds / other.host_seconds[way]
        for one, other in pairs
        if one is not None and other is not None
        for way, seconds in one.host_seconds.items()
    ]
    return max((max(ratio, 1 / ratio) - 1 for ratio in ratios), default=0.0)


def costs(measurement: Measurement, before: str, host_noise: float) -> list[str]:
    """What else the op takes more of than `before`: memory, and the host's time, which is as noisy
    as that of the same code was seen to be.
    """
    found = []
    for point in measurement.points:
        ours, theirs = point.of(OURS), point.of(before)
        if ours is None or theirs is None:
            continue
        where = f"{point.rows} x {point.cols}"
        most = (1 + GUARD) * (theirs.peak_bytes or 0) + ALLOCATION_BYTES
        if ours.peak_bytes is not None and ours.peak_bytes > most:
            more = ours.peak_bytes / max(1, theirs.peak_bytes or 0)
            found.append(f"{where} takes {more:.2f}x the memory")
        for way, seconds in ours.host_seconds.items():
            least = theirs.host_seconds.get(way, math.inf)
            if seconds > (1 + GUARD + host_noise) * least + HOST_SECONDS:
                found.append(f"{way} {where} takes {seconds / least:.2f}x the host's time")
    return found


@dataclass
class Patience:
    """Until when to look on: a deadline, targets, and two waves in a row that gained nothing."""

    seconds: float
    targets: Sequence[Target] = ()
    noise: float = 0.0
    _began: float = field(default_factory=lambda: time.monotonic())
    _fruitless: int = 0
    _dearest: float = 0.0

    @property
    def spent(self) -> float:
        """Seconds since it began."""
        return time.monotonic() - self._began

    def anew(self) -> None:
        """Someone else looks now."""
        self._fruitless = 0

    def note(self, gained: float, seconds: float, count: int) -> None:
        """A wave of so many ideas took so long, and saved such a share of the time."""
        small = gained <= max(LEAST_GAIN, self.noise)
        self._fruitless = self._fruitless + 1 if small else 0
        self._dearest = max(self._dearest, seconds / count)

    def room(self, count: int) -> int:
        """For how many of so many ideas there is time, by what one took at most."""
        left = self.seconds - self.spent
        return min(count, int(left / self._dearest)) if self._dearest else count

    def over(self, times: Times, floors: Times) -> str:
        """Why to stop; "" to go on. The times are those of the best so far."""
        if self._fruitless >= FRUITLESS:
            return f"{FRUITLESS} waves in a row gained no {max(LEAST_GAIN, self.noise):.1%}"
        if self.spent >= self.seconds or not self.room(1):
            return f"the budget of {self.seconds:.0f} s is spent"
        if self.targets and all(target.reached(times, floors) for target in self.targets):
            return f"{' and '.join(target.text for target in self.targets)} is reached"
        return ""
