"""`workbench bench --check`: whether an op is still as fast as its committed evidence says.

Shares of the floor are compared, not times: how fast this GPU copies today is in both, so that one
that is clocked down is no regression. What counts as noise is found in the same run, by measuring
the op against itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from workbench.bench import statistics
from workbench.bench.contest import Direction
from workbench.bench.entrant import Rival
from workbench.bench.export import measured
from workbench.bench.measure import Plan
from workbench.bench.measurement import OURS, Measurement, Point
from workbench.errors import EvidenceError, UsageError
from workbench.evidence import Evidence

ITSELF = "itself"
# Even where an op against itself shows less: two runs differ by more than the rounds of one.
LEAST_NOISE = 0.02


def recorded(evidence: Sequence[Evidence], op: str, device: str) -> Measurement:
    """The newest committed measurement of an op on a GPU of this model.

    Raises:
        EvidenceError: there is none, or another workbench wrote it.
    """
    found = [e for e in evidence if e.kind == "measurement"]
    ours = [e for e in found if e.data.get("device") == device]
    if not ours:
        others = ", ".join(sorted({str(e.data.get("device")) for e in found}))
        what = f"measured on {others} only" if others else "not measured"
        raise EvidenceError(f"{op} is {what}, so nothing says how fast it is on {device}")
    return measured(max(ours, key=lambda e: e.created))


def plan(before: Measurement, plan: Plan) -> Plan:
    """What to measure again: the same sizes and dtype, the op against itself.

    Raises:
        UsageError: the record holds several dtypes.
    """
    import torch

    dtypes = {point.dtype for point in before.points}
    if len(dtypes) != 1:
        raise UsageError(f"the record of {before.op} holds {len(dtypes)} dtypes, not one")
    return Plan(
        sizes=[(point.rows, point.cols) for point in before.points],
        dtype=getattr(torch, dtypes.pop()),
        rivals=[Rival(OURS, "op"), Rival(ITSELF, "op")],
        rounds=plan.rounds,
        calls=plan.calls,
        seed=plan.seed,
    )


def regressions(before: Measurement, now: Measurement) -> list[str]:
    """Where the op has become slower beyond noise, worst first."""
    noise = max(LEAST_NOISE, *_noise(now), 0.0)
    points = {(point.rows, point.cols): point for point in now.points}
    found = []
    for old in before.points:
        new = points.get((old.rows, old.cols))
        if new is None or new.of(OURS) is None:
            found.append((0.0, f"({old.rows}, {old.cols}): has no time any more"))
            continue
        for direction in old.floors:
            then, today = _share(old, direction), _share(new, direction)
            if then is not None and today is not None and today[1] < then[0] * (1 - noise):
                said = f"{today[1]:.3f} of the floor at best, was {then[0]:.3f} at worst"
                place = f"({old.rows}, {old.cols}) {direction}"
                found.append((today[1] / then[0], f"{place}: {said}, noise {noise:.1%}"))
    return [text for _, text in sorted(found)]


def _share(point: Point, direction: Direction) -> tuple[float, float] | None:
    """The share of the floor that the op reached, at worst and at best."""
    ours = point.of(OURS)
    if ours is None or not ours.rounds.get(direction) or direction not in point.floors:
        return None
    floor = point.floors[direction]
    time = statistics.of_rounds(ours.rounds[direction], alike=True)
    return floor / time.high, floor / time.low


def _noise(now: Measurement) -> Iterator[float]:
    """How far the op is from itself, by size and direction."""
    for point in now.points:
        for direction in point.floors:
            ratio = point.against(ITSELF, direction)
            if ratio is not None:
                yield abs(ratio.median - 1)
