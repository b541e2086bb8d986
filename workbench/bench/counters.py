"""What a GPU's counters say of each kernel launch, read from the table that Nsight Compute prints.

With `--csv --page raw` that is, among lines of its own and of the program it looks into: a row of
names, a row of units, then a row per launch. Numbers may have thousands separators, and units vary.
"""

from __future__ import annotations

import csv
import math
import re
from collections.abc import Mapping, Sequence
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict

from workbench.bench.contest import Direction
from workbench.text import printable

_BYTES = {"byte": 1.0, "Kbyte": 1e3, "Mbyte": 1e6, "Gbyte": 1e9, "Tbyte": 1e12}
_LONG = {"nsecond": 1e-9, "usecond": 1e-6, "msecond": 1e-3, "second": 1.0}
_SECONDS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0, **_LONG}
_SHARES = {"%": 0.01}
# What is read: the name of a column, and of what its units are. Names are those of sm_80 to sm_100.
METRICS: Mapping[str, Mapping[str, float]] = {
    "gpu__time_duration.sum": _SECONDS,
    "dram__bytes_read.sum": _BYTES,
    "dram__bytes_write.sum": _BYTES,
    "lts__t_sector_hit_rate.pct": _SHARES,
    "sm__warps_active.avg.pct_of_peak_sustained_active": _SHARES,
    "launch__registers_per_thread": {},
}
# For how many cycles a warp waits, per instruction, by reason; which reasons there are varies.
STALLS = "smsp__average_warps_issue_stalled_.*_per_issue_active"
_STALL = re.compile(r"smsp__average_warps_issue_stalled_(\w+)_per_issue_active\.ratio")
_HALVES = "_not_issued"  # every reason is there again for the cycles in which nothing was issued
_WORKING = "selected"  # the warp that issues: no reason to wait

Text = Annotated[str, AfterValidator(printable)]


class Uncounted(Exception):
    """Why there are no counters, in one line."""


class KernelCounters(BaseModel):
    """One launch, alone and with cold caches; None where a counter is not there.

    `occupancy` is the share of the warps that were resident on average, `l2_hits` the share of
    accesses that the L2 cache served. A warp waits most for `stall`, which is `stall_share` of the
    time between two of its instructions.
    """

    model_config = ConfigDict(frozen=True)

    direction: Direction
    kernel: Text
    seconds: float | None = None
    dram_read_bytes: float | None = None
    dram_written_bytes: float | None = None
    occupancy: float | None = None
    l2_hits: float | None = None
    registers: int | None = None
    stall: Text = ""
    stall_share: float | None = None

    @property
    def dram_bytes(self) -> float | None:
        """What it read and wrote."""
        if self.dram_read_bytes is None or self.dram_written_bytes is None:
            return None
        return self.dram_read_bytes + self.dram_written_bytes


class Counters(BaseModel):
    """The launches of one call in each direction; `problem` says why some, or all, are missing."""

    model_config = ConfigDict(frozen=True)

    launches: tuple[KernelCounters, ...] = ()
    problem: Text = ""


def read(output: str, direction: Direction) -> list[KernelCounters]:
    """The launches in what Nsight Compute printed.

    Raises:
        Uncounted: there is no table, no launch in it, or something else than a table.
    """
    lines = [line for line in output.splitlines() if line.startswith('"')]
    start = next((n for n, line in enumerate(lines) if line.startswith('"ID"')), None)
    if start is None:
        raise Uncounted("ncu printed no table")
    names, *rows = csv.reader(lines[start:])
    if "Kernel Name" not in names or any(len(row) != len(names) for row in rows):
        raise Uncounted("ncu printed a table that can't be read")
    if len(rows) < 2:
        raise Uncounted("ncu saw no kernel")
    units, *launches = (dict(zip(names, row, strict=True)) for row in rows)
    return [_launch(launch, units, direction) for launch in launches]


def _launch(
    row: Mapping[str, str], units: Mapping[str, str], direction: Direction
) -> KernelCounters:
    time, read, written, hits, occupancy, registers = (
        _number(name, row, units) for name in METRICS
    )
    stall, share = _stall(row)
    return KernelCounters(
        direction=direction,
        kernel=row["Kernel Name"],
        seconds=time,
        dram_read_bytes=read,
        dram_written_bytes=written,
        occupancy=occupancy,
        l2_hits=hits,
        registers=None if registers is None else int(registers),
        stall=stall,
        stall_share=share,
    )


def _number(name: str, row: Mapping[str, str], units: Mapping[str, str]) -> float | None:
    """A metric in bytes, seconds, or as a share; None where it was not counted."""
    value = _plain(row.get(name, ""))
    scale = METRICS[name]
    if value is None or not scale:
        return value
    if units[name] not in scale:
        raise Uncounted(f"ncu gives {name} in {units[name]!r}, which is not known")
    return value * scale[units[name]]


def _plain(text: str) -> float | None:
    try:
        value = float(text.replace(",", ""))
    except ValueError:  # "n/a", or nothing
        return None
    return value if math.isfinite(value) else None


def _stall(row: Mapping[str, str]) -> tuple[str, float | None]:
    """What a warp waits for most, and for which share of the time."""
    found = {
        match[1]: value
        for name in row
        if (match := _STALL.fullmatch(name)) and not match[1].endswith(_HALVES)
        if (value := _plain(row[name])) is not None
    }
    total = sum(found.values())
    reasons = [name for name in found if name != _WORKING]
    if not reasons or not total:
        return "", None
    most = max(reasons, key=lambda name: found[name])
    return most.replace("_", " "), found[most] / total


def moved(launches: Sequence[KernelCounters], direction: Direction) -> float | None:
    """The bytes that the launches of a direction read from and wrote to the GPU's memory; None if
    there are none, or one was not counted.
    """
    ways: tuple[Direction, ...] = ("forward", "backward") if direction == "both" else (direction,)
    counted = [[one.dram_bytes for one in launches if one.direction == way] for way in ways]
    known = [n for way in counted for n in way if n is not None]
    return sum(known) if all(counted) and len(known) == sum(map(len, counted)) else None
