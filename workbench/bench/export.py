"""A measurement as rows: one for each size, direction and contender, with the unit in every name.

Seconds and bytes, unrounded, so that what is read back is what was measured.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any, TypeVar, get_args

from pydantic import BaseModel, ValidationError

from workbench.bench.contest import Direction
from workbench.bench.measurement import OURS, Measurement, Point, Result
from workbench.bench.static import StaticReport
from workbench.bench.statistics import Interval
from workbench.errors import EvidenceError
from workbench.evidence import Evidence, plain

_Model = TypeVar("_Model", bound=BaseModel)
# What a spreadsheet would take for a formula; a contender's problem is its own text.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


@dataclass(frozen=True, kw_only=True)
class Row:
    """One contender at one size in one direction; None and "" for what was not measured.

    `achieved_bytes_per_second` is of the bytes the op must move, `floor_share` the time that moving
    them takes at the rate of a copy over the contender's time. `time_over_ours` is its time over
    the op's own, round by round: above 1 it is slower. `error_over_eager` is that of `Result`.
    """

    op: str
    device: str
    dtype: str
    rows: int
    cols: int
    direction: Direction
    contender: str
    time_median_seconds: float | None
    time_low_seconds: float | None
    time_high_seconds: float | None
    time_samples: int
    moved_bytes: float | None
    achieved_bytes_per_second: float | None
    floor_seconds: float | None
    floor_share: float | None
    time_over_ours_median: float | None
    time_over_ours_low: float | None
    time_over_ours_high: float | None
    host_seconds: float | None
    peak_memory_bytes: int | None
    error_over_eager: float | None
    judge_clock_seconds: float | None
    device_clock_seconds: float | None
    problem: str
    record: str

    @property
    def is_ours(self) -> bool:
        """Whether it is the op itself."""
        return self.contender == OURS

    @property
    def wins(self) -> bool:
        """Whether it is a peer that is faster than the op, beyond the noise."""
        return self.time_over_ours_high is not None and self.time_over_ours_high < 1

    @property
    def ties(self) -> bool:
        """Whether it is a peer that is neither faster nor slower, beyond the noise."""
        low, high = self.time_over_ours_low, self.time_over_ours_high
        return low is not None and high is not None and low <= 1 <= high


def found(evidence: Evidence) -> Measurement | StaticReport:
    """What a record of a measurement or of a compilation holds.

    Raises:
        EvidenceError: it holds something else.
    """
    if evidence.kind == "measurement":
        return measured(evidence)
    return compiled(evidence)


def compiled(evidence: Evidence) -> StaticReport:
    """What a record of a compilation holds.

    Raises:
        EvidenceError: it holds something else.
    """
    return _read(StaticReport, evidence)


def measured(evidence: Evidence) -> Measurement:
    """What a record of a measurement holds.

    Raises:
        EvidenceError: it holds something else.
    """
    return _read(Measurement, evidence)


def _read(model: type[_Model], evidence: Evidence) -> _Model:
    try:
        return model.model_validate(evidence.data)
    except ValidationError as error:
        first = error.errors()[0]
        where = "/".join(map(str, first["loc"]))
        raise EvidenceError(
            f"the record {evidence.id[:12]} is no {evidence.kind} this workbench can show: "
            f"{where}: {first['msg']}",
            f"another workbench wrote it; again: workbench bench {evidence.op}",
        ) from error


def rows(evidence: Evidence) -> list[Row]:
    """The rows of a record of a measurement, sizes that are lost first; none of any other."""
    if evidence.kind != "measurement":
        return []
    measurement = measured(evidence)
    return [
        _row(measurement, point, direction, result, evidence.id)
        for point in measurement.losses_first
        for direction in directions([point])
        for result in sorted(point.results, key=lambda result: result.contender != OURS)
    ]


def directions(points: Sequence[Point]) -> list[Direction]:
    """The directions that anything is known of, forward first."""
    known = {way for point in points for way in point.bytes}
    known |= {way for point in points for result in point.results for way in result.rounds}
    return [way for way in get_args(Direction) if way in known]


def _row(
    measurement: Measurement, point: Point, direction: Direction, result: Result, record: str
) -> Row:
    time = result.times.get(direction)
    moved, floor = point.bytes.get(direction), point.floors.get(direction)
    over = None if result.contender == OURS else _over(point, result, direction)
    clocks = point.clock.get(direction) if result.contender == OURS else None
    return Row(
        op=measurement.op,
        device=measurement.device,
        dtype=point.dtype,
        rows=point.rows,
        cols=point.cols,
        direction=direction,
        contender=result.contender,
        time_median_seconds=None if time is None else time.median,
        time_low_seconds=None if time is None else time.low,
        time_high_seconds=None if time is None else time.high,
        time_samples=sum(map(len, result.rounds.get(direction, []))),
        moved_bytes=moved,
        achieved_bytes_per_second=moved / time.median if moved and time else None,
        floor_seconds=floor,
        floor_share=floor / time.median if floor and time else None,
        time_over_ours_median=None if over is None else over.median,
        time_over_ours_low=None if over is None else over.low,
        time_over_ours_high=None if over is None else over.high,
        host_seconds=result.host_seconds.get(direction),
        peak_memory_bytes=result.peak_bytes,
        error_over_eager=result.error,
        judge_clock_seconds=None if clocks is None else clocks[0],
        device_clock_seconds=None if clocks is None else clocks[1],
        problem=result.problem,
        record=record,
    )


def _over(point: Point, result: Result, direction: Direction) -> Interval | None:
    """A peer's time over ours: what `against` says, the other way round."""
    ours = point.of(OURS)
    if ours is None or direction not in ours.rounds or direction not in result.rounds:
        return None
    ratio = point.against(result.contender, direction)
    if ratio is None:
        return None
    return Interval(low=1 / ratio.high, median=1 / ratio.median, high=1 / ratio.low)


def as_data(evidence: Evidence) -> list[dict[str, Any]]:
    """The rows as JSON has them; of a compilation, one row for each kernel and target."""
    if evidence.kind == "measurement":
        return [plain(asdict(row)) for row in rows(evidence)]
    return [_usage(kernel, evidence) for kernel in evidence.data.get("kernels", ())]


def as_csv(evidence: Evidence) -> str:
    """The rows as CSV with a line of names; an empty cell is what was not measured."""
    data = as_data(evidence)
    names = list(data[0]) if data else [field.name for field in fields(Row)]
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _cell(value) for name, value in row.items()} for row in data)
    return text.getvalue()


_UNITS = {
    "registers": "registers_per_thread",
    "spill_bytes": "spill_bytes_per_thread",
    "shared_bytes": "shared_bytes_per_block",
    "num_warps": "warps_per_block",
    "occupancy": "occupancy_share",
}


def _usage(kernel: Mapping[str, Any], evidence: Evidence) -> dict[str, Any]:
    named = {_UNITS.get(name, name): value for name, value in kernel.items()}
    return {"op": evidence.op, **named, "record": evidence.id}


def _cell(value: Any) -> Any:
    if isinstance(value, str) and value.startswith(_FORMULA):
        return f"'{value}"
    return value
