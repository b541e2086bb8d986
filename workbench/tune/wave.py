"""What is tried at once, and what came of it, as data."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

from pydantic import BaseModel, ConfigDict

from workbench.bench import statistics
from workbench.bench.contest import Direction
from workbench.bench.export import measured
from workbench.bench.measurement import OURS, Measurement
from workbench.bench.statistics import Interval
from workbench.evidence import Evidence

Sources = Mapping[str, str]
# Seconds, by rows, columns and direction.
Times = Mapping[tuple[int, int, Direction], float]


def digest(sources: Sources) -> str:
    """SHA-256 of an op's files."""
    text = "".join(f"{name}\0{sources[name]}\0" for name in sorted(sources))
    return hashlib.sha256(text.encode()).hexdigest()


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True)


class Idea(_Frozen):
    """A variant, and why it should be faster: written down before it is tried.

    `expected` is the share of the time it should save; `sources` the op's files that an author may
    write, all of them.
    """

    name: str
    hypothesis: str
    expected: float
    sources: dict[str, str]

    @cached_property
    def digest(self) -> str:
        """SHA-256 of its files."""
        return digest(self.sources)


class Ratio(_Frozen):
    """A variant's time at one size in one direction over the time of the best so far."""

    rows: int
    cols: int
    direction: Direction
    seconds: float
    over: Interval

    @property
    def where(self) -> tuple[int, int, Direction]:
        """Its key among times."""
        return (self.rows, self.cols, self.direction)


class Settled(_Frozen):
    """What is best after a wave, and its ratios to what was best before: where it was measured."""

    best: Idea
    ratios: tuple[Ratio, ...] = ()


class Wave(_Frozen):
    """Ideas that were judged, and raced against the best so far, which is no idea of this wave.

    `verdicts`, by digest, and `races` are the records: one for each place where sizes were timed,
    none where no idea passed.
    """

    number: int
    best: Idea
    ideas: tuple[Idea, ...]
    verdicts: dict[str, Evidence]
    races: tuple[Evidence, ...]

    @cached_property
    def measurement(self) -> Measurement | None:
        """What was timed: the best so far by the name of the op, the ideas by theirs."""
        return joined([measured(race) for race in self.races]) if self.races else None

    def problem(self, idea: Idea) -> str:
        """Why an idea has no timings; "" if it has."""
        verdict = self.verdicts[idea.digest]
        if not verdict.passed:
            return failures(verdict.data) or "no check passed"
        points = self.measurement.points if self.measurement is not None else ()
        results = [r for point in points for r in point.results if r.contender == idea.name]
        return next((r.problem for r in results if r.problem), "")

    def ratios(self, idea: Idea) -> list[Ratio]:
        """How fast an idea is wherever it was timed; nothing if it failed anywhere."""
        if self.measurement is None or self.problem(idea):
            return []
        return ratios(self.measurement, idea.name, OURS)


def joined(parts: Sequence[Measurement]) -> Measurement:
    """What was measured of several sizes apart, on one model of GPU."""
    points = [point for part in parts for point in part.points]
    failures = [failure for part in parts for failure in part.failures]
    return parts[0].model_copy(update={"points": tuple(points), "failures": tuple(failures)})


def ratios(measurement: Measurement, name: str, over: str) -> list[Ratio]:
    """A contender's times over another's, wherever both have some."""
    return [
        Ratio(
            rows=point.rows,
            cols=point.cols,
            direction=way,
            seconds=one.times[way].median,
            over=statistics.ratio(one.rounds[way], other.rounds[way]),
        )
        for point in measurement.points
        if (one := point.of(name)) is not None and (other := point.of(over)) is not None
        for way in one.rounds
    ]


def failures(verdict: Mapping[str, Any]) -> str:
    """The first lines of the checks that failed."""
    failed = [check for check in verdict["checks"] if check["status"] == "failed"]
    return "; ".join(f"{c['name']}: {(c['message'].splitlines() or [''])[0]}" for c in failed)


def times(measurement: Measurement, name: str = OURS) -> dict[tuple[int, int, Direction], float]:
    """The median seconds of a contender."""
    return {
        (point.rows, point.cols, way): found.median
        for point in measurement.points
        if (result := point.of(name)) is not None
        for way, found in result.times.items()
    }


def floors(measurement: Measurement) -> dict[tuple[int, int, Direction], float]:
    """The seconds that moving the bytes takes."""
    return {
        (point.rows, point.cols, way): seconds
        for point in measurement.points
        for way, seconds in point.floors.items()
    }
