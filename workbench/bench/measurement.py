"""What was measured of an op on one GPU, as data; times are seconds."""

from __future__ import annotations

from functools import cached_property

from pydantic import BaseModel, ConfigDict

from workbench.bench import statistics
from workbench.bench.contest import Direction, Rounds
from workbench.bench.statistics import Interval

OURS = "workbench"


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Result(_Frozen):
    """One contender at one size: its timings by direction, or `problem`, why it has none.

    `peak_bytes` is what one forward and backward takes beyond its inputs; `host_seconds` what a
    call of a training step keeps the host busy for; `error` the worst error of its values over what
    PyTorch's own float32 or bfloat16 result has, both against float64.
    """

    contender: str
    rounds: dict[Direction, Rounds] = {}
    peak_bytes: int | None = None
    host_seconds: dict[Direction, float] = {}
    error: float | None = None
    problem: str = ""

    @cached_property
    def times(self) -> dict[Direction, Interval]:
        """The median time by direction, and its interval."""
        return {direction: statistics.of_rounds(found) for direction, found in self.rounds.items()}


class Point(_Frozen):
    """One size. `floors` are the seconds that it takes at least: to move the bytes at the rate of a
    copy, or for `flops` at that of a matrix product, whichever is more. `clock` is (by the judge's
    clock, by the device's events) per call of the op, by direction.
    """

    rows: int
    cols: int
    dtype: str
    bytes: dict[Direction, float]
    floors: dict[Direction, float]
    flops: dict[Direction, float] = {}
    results: tuple[Result, ...]
    clock: dict[Direction, tuple[float, float]] = {}

    def of(self, contender: str) -> Result | None:
        """The result of a contender that has timings here."""
        return next((r for r in self.results if r.contender == contender and r.rounds), None)

    def against(self, peer: str, direction: Direction) -> Interval | None:
        """Our time over the peer's, None where one of them has none."""
        ours, theirs = self.of(OURS), self.of(peer)
        if ours is None or theirs is None:
            return None
        return statistics.ratio(ours.rounds[direction], theirs.rounds[direction])

    @property
    def peers(self) -> list[str]:
        """Who else has timings here."""
        return [r.contender for r in self.results if r.rounds and r.contender != OURS]

    def loses(self) -> bool:
        """Whether a peer is faster than the op in any direction, beyond the noise."""
        return bool(self.lost())

    def lost(self) -> list[Direction]:
        """In which directions a peer is faster, beyond the noise."""
        ours = self.of(OURS)
        ways = ours.rounds if ours is not None else {}
        return [way for way in ways if any(self._is_faster(peer, way) for peer in self.peers)]

    def _is_faster(self, peer: str, way: Direction) -> bool:
        ratio = self.against(peer, way)
        return ratio is not None and ratio.low > 1


class Measurement(_Frozen):
    """An op on one GPU. `ceilings` is what that GPU was measured to do at the start: bytes a second
    of a copy, FLOP a second of a bf16 matrix product.
    """

    op: str
    device: str
    seed: int
    ceilings: dict[str, float]
    points: tuple[Point, ...]
    failures: tuple[str, ...] = ()

    @property
    def lost(self) -> int:
        """At how many points a peer is faster."""
        return sum(point.loses() for point in self.points)

    @property
    def losses_first(self) -> list[Point]:
        """The points, those where a peer is faster before the others."""
        return sorted(self.points, key=lambda point: not point.loses())

    def summary(self) -> list[str]:
        """The facts for one line of a report."""
        facts = [self.device, f"{len(self.points)} sizes", f"a peer is faster at {self.lost}"]
        shares = [
            point.floors["both"] / ours.times["both"].median
            for point in self.points
            if (ours := point.of(OURS)) is not None and "both" in ours.rounds
        ]
        if shares:
            facts.append(f"{min(shares):.2f} to {max(shares):.2f} of the floor, both directions")
        return facts + [f"failed: {failure}" for failure in self.failures]
